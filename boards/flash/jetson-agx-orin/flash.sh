#!/bin/sh
# Puts NVIDIA's system with the camera program on a board: flash.sh --help.
HERE=$(cd "$(dirname "$0")" && pwd)
NAME=jetson-agx-orin
USB_IDS="7023 7223"
BOARD=jetson-agx-orin-devkit
ROOTDEV=external
LAYOUT=tools/kernel_flash/flash_l4t_t234_nvme.xml
BOOT=""
RELEASES="35 36"
export NAME USB_IDS BOARD ROOTDEV LAYOUT BOOT RELEASES
# shellcheck source=SCRIPTDIR/../flash-board.sh
. "$HERE/../flash-board.sh"
