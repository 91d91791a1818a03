"""Makes `failing://` known. Takes effect in every Python that finds this folder on its path, Ray's actors too."""

import fsspec

fsspec.register_implementation("failing", "tests.support.failing_store.FailingStore", clobber=True)
