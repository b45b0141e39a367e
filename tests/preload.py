"""A library for LD_PRELOAD from a few lines of C: what a test cannot make fail in another way."""

import shutil
import subprocess


def made(folder, name, source):
    """Its path; None where there is no C compiler, or it refuses."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    text, library = folder / f"{name}.c", folder / f"{name}.so"
    text.write_text(source)
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", library, text, "-ldl"]
    return library if compiler and subprocess.run(command, check=False).returncode == 0 else None
