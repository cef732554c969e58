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

# built ARGUMENT...   builds one program with cargo, and prints where it is: the target directory and the target may be set in the
# environment or in cargo's configuration
built() {
    cargo build --locked --message-format=json-render-diagnostics "$@" \
        | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'
}

# debian_install PACKAGE...   prints nothing on standard output
debian_install() {
    command -v apt-get >/dev/null || die "this is no Debian; please install yourself what its packages $* have"
    echo "installing $*"
    as_root apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@"
} >&2
