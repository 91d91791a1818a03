"""What Ray says of a machine that is short of memory, in one line: are the run's own actors to blame, or others?"""

import pytest

from jobs.ray.actor import memory_error
from workers.errors import MemoryTaken, OutOfMemory

# As Ray 2.60 words it, without most of its pages.
TEXT = """1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 192.0.2.2, ID: 9b2c) was \
{used}GB used / 23.54GB limit (0.302445)
OOM kill reason: Memory usage 7611777024B exceeded threshold of 7582950912B (30.0% of 25276502016B limit)
Considered workers: [
Selected to kill: (Actor(7e06): job ID=0100, task name=A.__init__, required resources={{CPU: 1}}, pid=7004, \
actual memory used={actor}GB, worker ID=c656)
]
Top 10 memory users: PID MEM(GB) COMMAND"""


@pytest.mark.parametrize(
    ("actor", "beside", "used", "kind"),
    [
        ("6.07", 1, "7.12", OutOfMemory),
        ("2.50", 8, "22.40", OutOfMemory),  # each of eight holds little, together they hold most
        ("0.60", 2, "22.40", MemoryTaken),
        ("5.00", 1, "22.40", MemoryTaken),
    ],
)
def test_the_runs_actors_are_to_blame_where_they_hold_half_of_what_is_used(actor, beside, used, kind):
    error = memory_error(TEXT.format(actor=actor, used=used), beside)
    assert type(error) is kind
    free = 23.5 - float(used)
    line = f"out of memory: Ray killed an actor that used {float(actor):.1f} GB; {free:.1f} of 23.5 GB were free"
    assert str(error) == line + (
        "; other processes, such as readers (--readers), hold the rest" if kind is MemoryTaken else ""
    )


def test_other_words_of_ray_are_cut_to_their_first_line():
    assert str(memory_error("killed: memory\nand pages", 1)) == "out of memory: killed: memory"
