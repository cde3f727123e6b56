from tinv_ext.python_api import Embedding as Embedding
from tinv_ext.python_api import RunControls as RunControls
from tinv_ext.python_api import TinvError as TinvError
from tinv_ext.python_api import Trained as Trained
from tinv_ext.python_api import inspect as inspect
from tinv_ext.python_api import load as load
from tinv_ext.python_api import resume as resume
from tinv_ext.python_api import save as save
from tinv_ext.python_api import train as train

__version__: str
__all__ = ["Embedding", "RunControls", "TinvError", "Trained", "inspect", "load", "resume", "save", "train"]
