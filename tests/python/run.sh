#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# The Python package (python/tccfuse) over the library beside the tool. TCF_PYTHON: another python3.
# usage: run.sh TCC_FUSE
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
library=$(cd "$(dirname "$1")" && pwd)/libtccfuse.so
python=${TCF_PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
  echo 'left out: the Python package is not tested (there is no python3 >= 3.9)'
  echo '0 passed, 0 failed'
  exit 0
fi
TCF_LIBRARY=$library PYTHONPATH=$here/../../python PYTHONDONTWRITEBYTECODE=1 \
  "$python" "$here/run.py"
