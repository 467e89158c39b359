#!/bin/sh
# At the first start of a flashed board: installs the package, takes up the provisioning file from the
# boot partition or from a USB stick with a folder `pavad`, starts the service. It is tried again at the
# next start until both have been done.
set -eu

if ! dpkg-query -W -f='${db:Status-Status}' pavad-edge 2> /dev/null | grep -qx installed; then
    # What the package needs is in NVIDIA's root file system.
    dpkg --install /opt/pavad/pavad-edge.deb
fi
for folder in /boot/pavad /media/*/pavad /mnt/pavad; do
    if [ -f "$folder/site.toml" ]; then
        pavad-provision "$folder"
        systemctl enable --now pavad-edge.service
        rm -f /opt/pavad/first-boot.sh /opt/pavad/pavad-edge.deb
        exit 0
    fi
done
echo "no provisioning file: put site.toml into a folder pavad on a USB stick, and start again" >&2
exit 1
