#!/bin/sh
# Puts NVIDIA's system with the camera program on a board: flash.sh --help.
HERE=$(cd "$(dirname "$0")" && pwd)
NAME=jetson-xavier-nx
USB_IDS="7e19"
BOARD=jetson-xavier-nx-devkit-emmc
ROOTDEV=internal
LAYOUT=""
BOOT=""
RELEASES="35"
export NAME USB_IDS BOARD ROOTDEV LAYOUT BOOT RELEASES
# shellcheck source=SCRIPTDIR/../flash-board.sh
. "$HERE/../flash-board.sh"
