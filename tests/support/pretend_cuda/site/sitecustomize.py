"""Installs pretended CUDA devices in any process that has this folder in PYTHONPATH.

PRETEND_CUDA is the number of devices, PRETEND_CUDA_MEMORY the bytes of each, PRETEND_CUDA_FAULT a
fault of the driver (see `break_driver`), PRETEND_CUDA_FILES a folder of control files (see
`read_control_files`).
"""

import importlib.abc
import importlib.util
import os
import sys

if os.environ.get("PRETEND_CUDA"):

    class _Loader(importlib.abc.Loader):
        def __init__(self, loader):
            self._loader = loader

        def create_module(self, spec):
            return self._loader.create_module(spec)

        def exec_module(self, module):
            self._loader.exec_module(module)
            sys.path.append(os.path.abspath(__file__ + "/../../../../.."))
            from tests.support import pretend_cuda

            memory = int(os.environ.get("PRETEND_CUDA_MEMORY", 2 << 30))
            pretend_cuda.install(int(os.environ["PRETEND_CUDA"]), memory)
            pretend_cuda.break_driver(os.environ.get("PRETEND_CUDA_FAULT", ""))

    class _Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name != "torch":
                return None
            sys.meta_path.remove(self)
            spec = importlib.util.find_spec(name)
            spec.loader = _Loader(spec.loader)
            return spec

    sys.meta_path.insert(0, _Finder())
