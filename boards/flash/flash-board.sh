#!/bin/sh
# What the flash.sh of every board does; it is sourced with the board's values set:
#
#   NAME      the board's profile
#   USB_IDS   USB product ids of its modules in recovery mode
#   BOARD     NVIDIA's name of its configuration
#   ROOTDEV   where the root file system is
#   LAYOUT    partition layout of the external disk, or empty: the module's own memory
#   BOOT      partition layout of the boot memory, or empty
#   RELEASES  major releases of L4T that have the board
#
# The commands are NVIDIA's documented ones for these boards (Quick Start, and README_initrd_flash.txt
# in tools/kernel_flash). They have not been run on a board by the authors.
set -eu
: "${NAME:?}" "${USB_IDS:?}" "${BOARD:?}" "${ROOTDEV:?}" "${RELEASES:?}" "${HERE:?}"

usage() {
    cat << END
usage: flash.sh --l4t DIR --package FILE.deb [--site FILE|DIR | --devices FILE.csv] [--mass N] [--dry-run]

Puts NVIDIA's system with the camera program on a $NAME.

  --l4t DIR       Linux_for_Tegra with the sample root file system unpacked into rootfs/
  --package FILE  pavad-edge_VERSION_arm64.deb
  --site FILE     provisioning file that the device takes up at its first start, or the folder with
                  site.toml and what it names (certificates, password, bundle)
  --devices FILE  CSV of devices, header device,site: flashes one after the other, each with its site
  --mass N        make images once and flash up to N boards at the same time
  --dry-run       print every command and run none

A single board must be connected by USB in recovery mode, with --mass up to N of the same kind.
END
}

die() {
    echo "flash.sh: $2" >&2
    exit "$1"
}

# shellcheck source=SCRIPTDIR/devices.sh
. "$HERE/../devices.sh"

L4T='' PACKAGE='' SITE='' DEVICES='' DRY='' MASS=''
while [ $# -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --dry-run) DRY=1; shift; continue ;;
    esac
    [ $# -ge 2 ] || die 2 "$1 wants a value, or is no option; see --help"
    case $1 in
        --l4t) L4T=$2 ;;
        --package) PACKAGE=$2 ;;
        --site) SITE=$2 ;;
        --devices) DEVICES=$2 ;;
        --mass) MASS=$2 ;;
        *) die 2 "no option '$1'; see --help" ;;
    esac
    shift 2
done
[ -n "$L4T" ] || die 2 "--l4t is missing; see --help"
[ -n "$PACKAGE" ] || die 2 "--package is missing; see --help"
case $MASS in *[!0-9]* | 0*) die 2 "--mass is '$MASS'; it must be a number from 1" ;; esac
[ -f "$PACKAGE" ] || die 2 "$PACKAGE: no such file"
[ -z "$SITE" ] || [ -f "$SITE" ] || [ -f "$SITE/site.toml" ] || die 2 "$SITE: no such file, nor a folder with site.toml"
if [ -n "$DEVICES" ]; then
    [ -z "$SITE$MASS" ] || die 2 "--devices says what each board gets; it goes without --site and --mass"
    check_devices "$DEVICES"
    DEVICES=$(cd "$(dirname "$DEVICES")" && pwd)/$(basename "$DEVICES")
fi
TOOL=tools/kernel_flash/l4t_initrd_flash.sh
[ -f "$L4T/$TOOL" ] || die 2 "$L4T: no $TOOL; it must be NVIDIA's Linux_for_Tegra"
[ -d "$L4T/rootfs/etc" ] || die 2 "$L4T/rootfs: no root file system; unpack NVIDIA's sample into it"
L4T=$(cd "$L4T" && pwd)
PACKAGE=$(cd "$(dirname "$PACKAGE")" && pwd)/$(basename "$PACKAGE")
[ -z "$SITE" ] || SITE=$(cd "$(dirname "$SITE")" && pwd)/$(basename "$SITE")

# The release of L4T: "# R36 (release), REVISION: 4.3, ...".
RELEASE=$(sed -n 's/^# R\([0-9]*\) .*/\1/p' "$L4T/rootfs/etc/nv_tegra_release" 2> /dev/null || true)
[ -n "$RELEASE" ] || RELEASE=$(sed -n 's/^# R\([0-9]*\) .*/\1/p' "$L4T/nv_tegra/nv_tegra_release" 2> /dev/null || true)
[ -n "$RELEASE" ] || die 2 "$L4T: the release is not known; run apply_binaries.sh first"
# shellcheck disable=SC2153 # RELEASES is the board's, RELEASE is what is there.
case " $RELEASES " in
    *" $RELEASE "*) ;;
    *) die 2 "L4T R$RELEASE does not have the $NAME; it needs one of R${RELEASES}" ;;
esac
# Where the layouts are depends on the release.
if [ "$RELEASE" = 35 ]; then
    BOOT=$(echo "$BOOT" | sed 's|bootloader/generic/|bootloader/t186ref/|')
    LAYOUT=$(echo "$LAYOUT" | sed 's|flash_l4t_t234_nvme.xml|flash_l4t_external.xml|')
fi

# Which module is connected. NVIDIA is 0955; 7020 is a board that runs, not one in recovery mode.
LSUSB=${LSUSB:-lsusb}
count_boards() {
    COUNT=0
    for id in $($LSUSB | sed -n 's/.*ID 0955:\([0-9a-f]*\).*/\1/p'); do
        case " $USB_IDS " in
            *" $id "*) COUNT=$((COUNT + 1)) ;;
            *)
                if [ "$id" = 7020 ]; then
                    die 4 "a board runs (0955:7020); put it into recovery mode"
                fi
                die 4 "the connected module (0955:$id) is no $NAME (0955: $USB_IDS); nothing was done"
                ;;
        esac
    done
}
count_boards
if [ "$COUNT" = 0 ] && [ -z "$DRY" ]; then
    die 4 "no $NAME in recovery mode is connected (0955: $USB_IDS)"
fi
if [ "$COUNT" -gt "${MASS:-1}" ]; then
    die 4 "$COUNT boards are connected; connect one, or give --mass $COUNT"
fi

# run WORD...: prints a command so that it can be copied, and runs it unless this is a dry run.
run() {
    printf '+'
    for word in "$@"; do
        case $word in
            *[!A-Za-z0-9_./:=@,+-]* | '') printf " '%s'" "$word" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    [ -n "$DRY" ] || "$@"
}

# `env` stands for nothing at all: who is root needs no sudo.
SUDO="sudo"
[ "$(id -u)" != 0 ] || SUDO="env"
printf '+ cd %s\n' "$L4T"
cd "$L4T"
run "$SUDO" ./tools/l4t_flash_prerequisites.sh
run "$SUDO" ./apply_binaries.sh
# The package goes in by the board's own dpkg at the first start, with the program that takes up the
# provisioning file: NVIDIA's root file system cannot be entered without emulation.
run "$SUDO" install -D -m 644 "$PACKAGE" rootfs/opt/pavad/pavad-edge.deb
run "$SUDO" install -D -m 755 "$HERE/../first-boot.sh" rootfs/opt/pavad/first-boot.sh
run "$SUDO" install -D -m 644 "$HERE/../pavad-first-boot.service" \
    rootfs/etc/systemd/system/pavad-first-boot.service
run "$SUDO" mkdir -p rootfs/etc/systemd/system/multi-user.target.wants
run "$SUDO" ln -sf ../pavad-first-boot.service \
    rootfs/etc/systemd/system/multi-user.target.wants/pavad-first-boot.service

# install_site PATH: a file, or a folder's files, for pavad-provision at the first start.
install_site() {
    run "$SUDO" rm -rf rootfs/boot/pavad
    if [ -f "$1" ]; then
        run "$SUDO" install -D -m 600 "$1" rootfs/boot/pavad/site.toml
        return
    fi
    for file in "$1"/*; do
        [ ! -f "$file" ] || run "$SUDO" install -D -m 600 "$file" "rootfs/boot/pavad/$(basename "$file")"
    done
}

# flash [WORD...]: l4t_initrd_flash.sh with these words and what this board needs.
flash() {
    [ -z "$LAYOUT" ] || set -- "$@" --external-device nvme0n1p1 -c "$LAYOUT"
    set -- "$@" --network usb0
    [ -z "$BOOT" ] || set -- "$@" -p "-c $BOOT"
    [ -n "$MASS" ] || set -- "$@" --showlogs
    run "$SUDO" "./$TOOL" "$@" "$BOARD" "$ROOTDEV"
}

# flash_device NAME SITE, for the boards of a list. The image holds the site, so each is made anew.
flash_device() {
    printf '# %s\n' "$1"
    install_site "$2"
    if [ -z "$DRY" ] && [ -n "$FLASHED" ]; then
        echo "connect the board for $1, in recovery mode, and press Enter" >&2
        read -r _ || die 4 "$1 and what follows were not flashed: nobody is there to connect boards"
        count_boards
        [ "$COUNT" = 1 ] || die 4 "$COUNT boards are connected for $1; it and what follows were not flashed"
    fi
    flash
    FLASHED=1
}

if [ -n "$DEVICES" ]; then
    FLASHED=''
    each_device "$DEVICES" flash_device
    # Secrets of the last one do not stay in the image's folder.
    run "$SUDO" rm -rf rootfs/boot/pavad
    exit 0
fi
[ -z "$SITE" ] || install_site "$SITE"
if [ -z "$MASS" ]; then
    flash
else
    flash --no-flash --massflash "$MASS"
    run "$SUDO" "./$TOOL" --flash-only --massflash "$MASS" --network usb0 --showlogs "$BOARD"
fi
