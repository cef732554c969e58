# Sourced by the scripts of this folder.

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "root or sudo is needed for: $*"
    fi
}

# debian_install PACKAGE...   prints nothing on standard output
debian_install() {
    command -v apt-get >/dev/null || die "this is no Debian; please install yourself what its packages $* have"
    echo "installing $*"
    as_root apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@"
} >&2
