# Sourced by the scripts of this buildpack.
step() { echo "-----> $*"; }
fail() { echo " !     $*" >&2; exit 1; }
