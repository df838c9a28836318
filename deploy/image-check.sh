#!/bin/sh
# Builds the image without Docker and tries it: `make image`, as root on Debian with podman, runc and mmdebstrap. It takes
# two minutes.
#
# No image is fetched. In place of the base, under its name, is a Debian of the same release with that Debian's own Python of
# the same minor version; so what is tried is our part of the image: that everything in it installs, is found and runs as its
# user, without rights, on a root that is read-only. Images and layers stay in .stack/image.
set -eu
cd "$(dirname "$0")/.."

if [ -z "${BIOGATE_OWN_MOUNTS:-}" ]; then # all mounts are gone with it
    for tool in podman runc mmdebstrap; do
        command -v $tool > /dev/null || { echo "make image needs $tool: apt-get install $tool" >&2; exit 1; }
    done
    BIOGATE_OWN_MOUNTS=yes exec unshare --mount "$0" "$@"
fi

place=$PWD/.stack/image
mkdir -p "$place/run"
engine() { podman --log-level error --root "$place/storage" --runroot "$place/run" --runtime runc "$@"; }

base=$(sed -n 's/^ARG BASE=//p' deploy/Dockerfile) # python:3.11.16-slim-bookworm
suite=${base##*-}
if ! engine image exists "docker.io/library/$base"; then
    echo "base: a Debian $suite with its Python"
    rm -f "$place/base.tar"
    # As there, python3 is in /usr/local, and documentation is left out.
    mmdebstrap --quiet --variant=minbase --include=ca-certificates,netbase,tzdata,python3,python3-venv \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --customize-hook='ln -s /usr/bin/python3 "$1/usr/local/bin/python3"; ln -s python3 "$1/usr/local/bin/python"' \
        "$suite" "$place/base.tar" ${BIOGATE_DEBIAN_MIRROR:-}
    engine import --quiet "$place/base.tar" "docker.io/library/$base" > /dev/null
    rm "$place/base.tar"
fi

echo "image: biogate:local"
# This machine's authorities and pip's settings are for machines behind a proxy; they are not in the image.
settings=
if [ -e /etc/pip.conf ]; then settings="--volume /etc/pip.conf:/etc/pip.conf:ro"; fi
# shellcheck disable=SC2086
engine build --isolation chroot --network host --volume /etc/ssl/certs:/etc/ssl/certs:ro $settings \
    --ignorefile deploy/Dockerfile.dockerignore --file deploy/Dockerfile --tag biogate:local . \
    > "$place/build.log" 2>&1 || { tail -40 "$place/build.log" >&2; exit 1; }

inside() {
    engine run --rm --interactive --network none --read-only --cap-drop ALL --security-opt no-new-privileges \
        --ulimit nofile=1024:1024 --ulimit nproc=4096:4096 \
        --volume "$PWD/docker-compose.yml:/tmp/compose.yml:ro" biogate:local "$@"
}
same() { [ "$2" = "$3" ] || { echo "$1: $2, and not $3" >&2; exit 1; }; echo "  $1: $2"; }

echo "tried, as in docker-compose.yml:"
same "user" "$(inside id -u):$(inside id -g)" 10001:10001
same "the root can be written" "$(inside sh -c 'touch /opt/biogate/tried 2> /dev/null && echo yes || echo no')" no
same "rights" "$(inside grep CapBnd /proc/self/status | cut -f2)" 0000000000000000
same "compilers, installers, caches" "$(inside sh -c 'command -v gcc cc make strip; ls /opt/biogate/bin | grep pip;
    find / -xdev -name .cache -o -path "*/opt/biogate/*" -name pip' 2> /dev/null)" ""
inside python - << 'END'
import re, runpy
from importlib.util import find_spec
import yaml
from deploy.command import HIDDEN, WORDS, found

services = yaml.safe_load(open("/tmp/compose.yml"))["services"].values()
commands = [words for s in services for words in (s.get("command", []), s.get("healthcheck", {}).get("test", []))]
table = {name: word.at for words in (*WORDS.values(), HIDDEN) for name, word in words.items()}
used = sorted(set(re.findall(r"\bbiogate ([a-z][\w-]*)", "\n".join(map(" ".join, commands)))))
for name in used:
    found(name)
    if ":" not in table[name]:  # a program, which takes the place of the command
        spec = find_spec(table[name])
        spec = find_spec(f"{table[name]}.__main__") if spec.submodule_search_locations else spec
        runpy.run_path(spec.origin, run_name="tried")  # under another name: all of its imports, and nothing is begun
print("  all imports of:", ", ".join(used))
END
same "without settings the gateway ends with" "$(inside biogate gateway > /dev/null 2>&1 || echo $?)" 2

echo "size:"
for image in biogate:local "$base"; do
    engine images --format '  {{.Size}}  {{.Repository}}:{{.Tag}}' --filter "reference=$image"
done
inside sh -c 'cd /opt/biogate/lib/python3.11/site-packages && du -sm * | sort -rn | head -8' | sed 's|^|  |; s|\t| MB  |'
