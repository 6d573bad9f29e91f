"""Slows the compact model down in every Python that has this folder on PYTHONPATH and MEMFLUX_TEST_PACE set.

That names a file with the seconds that a call takes, read anew at each. It stands in for the physics
where a test needs a campaign that takes longer than a walltime, and a serial run that does not.
"""

import importlib.util
import os
import sys
import time
from pathlib import Path


class _Slow:
    """Finds memflux.stand_in as usual, and patches it once it is loaded."""

    def find_spec(self, name, path=None, target=None):
        if name != "memflux.stand_in":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            answer = module.StandIn.__call__

            def slow(self, devices, drive):
                time.sleep(float(Path(os.environ["MEMFLUX_TEST_PACE"]).read_text()))
                return answer(self, devices, drive)

            module.StandIn.__call__ = slow

        spec.loader.exec_module = exec_module
        return spec


if "MEMFLUX_TEST_PACE" in os.environ:
    sys.meta_path.insert(0, _Slow())
