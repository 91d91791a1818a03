"""A process that uses Ray is asked to end, more than once."""

from tests.support.scripts import output_of


def test_a_session_with_ray_ends_as_the_first_request_says_though_more_follow(tmp_path):
    script = """
        import os, signal, threading, time
        import ray
        from jobs.ray import cluster
        from jobs.watch import SilentWatcher
        from workers.host import ending

        def insist():
            time.sleep(0.1)
            for pause in (0.05, 0.8, 0.3):  # before, during and after what Ray's shutdown waits for
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(pause)

        def work():
            with cluster.session(SilentWatcher()):
                cluster.start("cpu")
                held = [ray.put(number) for number in range(8)]  # the error keeps them until after the shutdown
                threading.Thread(target=insist, daemon=True).start()
                time.sleep(60)

        ending.end_once()
        try:
            work()
        except KeyboardInterrupt:
            print("stopped; is there a core worker?", hasattr(ray._private.worker.global_worker, "core_worker"))
        raise SystemExit(130)
    """
    assert output_of(script, tmp_path) == (130, ["stopped; is there a core worker? False"])
