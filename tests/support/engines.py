"""The engine that tests of whole runs scan with. `make soak` repeats them with the compiled one."""

import os

from workers.actors import engine

ENGINE = os.environ.get("DECONVOY_TEST_ENGINE", "eager")
HAS_COMPILER = engine.has_compiler("cpu")
