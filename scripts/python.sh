# Sourced, not run: newest_python prints the path of the newest CPython >= 3.11 that can make an environment.
# It looks at PATH, at pyenv's versions and, where uv is installed, at the ones uv manages. PATH may hold pyenv shims
# that exist and fail, and Debian's python3 may lack venv, so every candidate has to prove itself by running this:
python_probe='
import os, sys, ssl, sqlite3, venv
if "uv" not in sys.argv:  # uv brings its own installer
    import ensurepip
version = sys.version_info
if version[:2] < (3, 11) or version[3] != "final" or sys.implementation.name != "cpython" or "t" in sys.abiflags:
    sys.exit(1)
# Some libraries have no wheels for 3.15 yet, so what is newer than 3.14 is the last choice.
print(version[1] * 100 + version[2] if version[1] <= 14 else 1, os.path.realpath(sys.executable))
'

newest_python() (
    best=0 newest=
    uv_versions=$(uv python dir 2>/dev/null) || uv_versions=
    IFS=:
    for folder in $PATH "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/*/bin "${uv_versions:-/nowhere}"/*/bin; do
        for python in "$folder"/python3 "$folder"/python3.1[1-9]; do
            [ -x "$python" ] && found=$("$python" -c "$python_probe" ${uv_versions:+uv} 2>/dev/null) || continue
            [ "${found%% *}" -gt "$best" ] 2>/dev/null || continue
            best=${found%% *} newest=${found#* }
        done
    done
    [ -n "$newest" ] && printf '%s\n' "$newest"
)
