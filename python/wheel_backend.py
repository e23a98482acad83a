# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Makes the wheel (PEP 517, PEP 660) with nothing but Python, so that `pip install ./python` needs no
network. The wheel carries libtccfuse.so where there is one: TCF_LIBRARY, else ../build's."""
import base64
import hashlib
import os
import re
import sysconfig
import tarfile
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = os.path.join(HERE, "tccfuse")


def _version():
    with open(os.path.join(PACKAGE, "_library.py"), encoding="utf-8") as f:
        return re.search(r'^VERSION = "(.*?)"', f.read(), re.M).group(1)


def _library():
    named = os.environ.get("TCF_LIBRARY")
    path = named or os.path.join(HERE, "..", "build", "libtccfuse.so")
    if named and not os.path.exists(named):
        raise FileNotFoundError(f"TCF_LIBRARY is {named}, which does not exist")
    return path if os.path.exists(path) else None


def _sources():
    return [os.path.join(PACKAGE, name) for name in sorted(os.listdir(PACKAGE))
            if name.endswith((".py", ".typed"))]


def _metadata():
    with open(os.path.join(HERE, "README.md"), encoding="utf-8") as f:
        readme = f.read()
    return ("Metadata-Version: 2.1\nName: tccfuse\n"
            f"Version: {_version()}\n"
            "Summary: Tensor programs, fused, compiled and called on arrays\n"
            "License: Apache-2.0 WITH LLVM-exception\n"
            "Requires-Python: >=3.9\nDescription-Content-Type: text/markdown\n\n" + readme)


def _tag(library):
    if not library:
        return "py3-none-any"
    return "py3-none-" + re.sub(r"[-.]", "_", sysconfig.get_platform())


def _write_wheel(folder, tag, files):
    """files: name in the wheel -> bytes."""
    info = f"tccfuse-{_version()}.dist-info"
    files = {**files, f"{info}/METADATA": _metadata().encode(),
             f"{info}/WHEEL": ("Wheel-Version: 1.0\nGenerator: wheel_backend\nRoot-Is-Purelib: "
                               f"{'true' if tag.endswith('any') else 'false'}\nTag: {tag}\n").encode()}
    record = ""
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(data)}\n"
    files[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    wheel = f"tccfuse-{_version()}-{tag}.whl"
    with zipfile.ZipFile(os.path.join(folder, wheel), "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))  # the same bytes every time
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            z.writestr(entry, data)
    return wheel


def _read(path):
    with open(path, "rb") as f:
        return f.read()


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    library = _library()
    files = {f"tccfuse/{os.path.basename(p)}": _read(p) for p in _sources()}
    if library:
        files["tccfuse/libtccfuse.so"] = _read(library)
    print(f"the wheel carries {library}" if library else
          "the wheel carries no library: there is no build/libtccfuse.so (./dev build) and no TCF_LIBRARY")
    return _write_wheel(wheel_directory, _tag(library), files)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    return _write_wheel(wheel_directory, "py3-none-any", {"tccfuse.pth": (HERE + "\n").encode()})


def build_sdist(sdist_directory, config_settings=None):
    name = f"tccfuse-{_version()}"
    with tarfile.open(os.path.join(sdist_directory, name + ".tar.gz"), "w:gz") as tar:
        for path in [*_sources(), *(os.path.join(HERE, f) for f in
                                    ("pyproject.toml", "README.md", "wheel_backend.py"))]:
            tar.add(path, f"{name}/{os.path.relpath(path, HERE)}")
    return name + ".tar.gz"
