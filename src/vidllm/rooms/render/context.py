"""An OpenGL context without a window, and the programs that run in it."""

from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from vidllm.types import VidLLMError

if TYPE_CHECKING:
    import moderngl

_VERSION = "#version 330 core\n"


def open_context() -> "moderngl.Context":
    """A standalone EGL context: a GPU's driver where there is one, Mesa's llvmpipe elsewhere.

    llvmpipe takes as many threads as there are cores unless ``LP_NUM_THREADS`` says otherwise when
    the process's first context is opened.

    Raises:
        VidLLMError: moderngl is not installed, or no driver gives an OpenGL 3.3 context.
    """
    try:
        import moderngl
    except ImportError as error:
        raise VidLLMError(
            "rendering needs the Python packages moderngl and glcontext: run `make setup-rooms`, "
            "or `pip install moderngl glcontext`"
        ) from error
    try:
        context = moderngl.create_context(require=330, standalone=True, backend="egl")
    except Exception as error:  # glcontext raises bare Exception
        raise VidLLMError(
            f"no OpenGL 3.3 context through EGL ({error}): run `make setup-rooms`, or install the "
            "Debian packages libegl1 libegl-mesa0 libgl1-mesa-dri libgl1"
        ) from error
    context.gc_mode = None
    return context


def make_program(
    context: "moderngl.Context", vertex: str, fragment: str, *shared: str
) -> "moderngl.Program":
    """Compiles a program from shader files of this package.

    Args:
        context: Where it runs.
        vertex: File name of the vertex shader.
        fragment: File name of the fragment shader.
        shared: Files whose functions the fragment shader uses.
    """
    fragments = [_source(name) for name in (*shared, fragment)]
    return context.program(
        vertex_shader=_VERSION + _source(vertex), fragment_shader=_VERSION + "\n".join(fragments)
    )


def set_uniforms(program: "moderngl.Program", **values: object) -> None:
    """Sets uniforms by name; those that the driver found unused are left out."""
    for name, value in values.items():
        member = program.get(name, None)
        if member is None:
            continue
        if isinstance(value, bytes):
            member.write(value)
        else:
            member.value = value


def gl_matrix(matrix: Float[np.ndarray, "N N"]) -> bytes:
    """Column-major float32 bytes."""
    return np.ascontiguousarray(np.asarray(matrix).T, np.float32).tobytes()


def _source(name: str) -> str:
    return (resources.files("vidllm.rooms.render") / "shaders" / name).read_text("utf-8")
