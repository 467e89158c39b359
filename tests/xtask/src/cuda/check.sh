#!/bin/sh
# Checks and times what the trainer does on this machine's GPU. Needs NVIDIA's driver and CUDA's
# libraries (cuBLAS, cuRAND); no Rust, no FFmpeg, no network. With PyTorch, its times stand beside ours.
#
#   sh check.sh [OPTIONS OF gpu-check]
#
# Prints a table and writes gpu-check.json into the current folder.
# PYTHON: the Python that has PyTorch (python3). CUDA_HOME: where CUDA is, if it is not found.

here=$(cd "$(dirname "$0")" && pwd) || exit 1
python=${PYTHON:-python3}
program=$here/gpu-check

# Unpacked once; elsewhere if this folder cannot be written to, or nothing in it be executed.
unpack() {
    gzip -dc "$here/gpu-check.gz" >"$1.new" && chmod +x "$1.new" && mv "$1.new" "$1" && "$1" --version >/dev/null
}
if ! { [ -x "$program" ] && [ "$program" -nt "$here/gpu-check.gz" ]; } && ! unpack "$program" 2>/dev/null; then
    copy=$(mktemp -d) && program=$copy/gpu-check && unpack "$program" || exit 1
fi

# CUDA's libraries: a toolkit's, or those that came with PyTorch from PyPI.
libraries=$LD_LIBRARY_PATH
add() {
    for library in "$1"/libcublas.so* "$1"/libcurand.so*; do
        if [ -e "$library" ]; then
            libraries=${libraries:+$libraries:}$1
            return
        fi
    done
}
for folder in "${CUDA_HOME:-/usr/local/cuda}/lib64" "${CUDA_HOME:-/usr/local/cuda}/lib" \
    /usr/local/cuda/lib64 /usr/local/cuda-1[23]*/lib64; do
    add "$folder"
done
sites=$("$python" -c 'import site, sys; print("\n".join(dict.fromkeys(sys.path + site.getsitepackages() + [site.getusersitepackages()])))' 2>/dev/null)
old=$IFS
IFS='
'
for site in $sites; do
    for folder in "$site"/nvidia/*/lib; do
        add "$folder"
    done
done
IFS=$old
LD_LIBRARY_PATH=$libraries
export LD_LIBRARY_PATH

"$program" --reference "$here/reference" --python "$python" --json gpu-check.json "$@"
code=$?
[ -z "$copy" ] || rm -rf "$copy"
exit $code
