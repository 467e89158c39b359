#!/bin/sh
# Puts NVIDIA's system with the camera program on a board: flash.sh --help.
HERE=$(cd "$(dirname "$0")" && pwd)
NAME=jetson-orin-nano
USB_IDS="7523 7623"
BOARD=jetson-orin-nano-devkit
ROOTDEV=internal
LAYOUT=tools/kernel_flash/flash_l4t_t234_nvme.xml
BOOT=bootloader/generic/cfg/flash_t234_qspi.xml
RELEASES="35 36"
export NAME USB_IDS BOARD ROOTDEV LAYOUT BOOT RELEASES
# shellcheck source=SCRIPTDIR/../flash-board.sh
. "$HERE/../flash-board.sh"
