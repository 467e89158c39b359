#!/bin/sh
# The check inside the machine that runs the package on a Debian system with systemd. It makes a camera,
# GPIO lines, a graphics processor and a watchdog out of the kernel's own simulations, lets systemd run
# the package's service on them and looks at what it does.
set -u
exec > /dev/console 2>&1
STATE=/var/lib/pavad
EVENTS=$STATE/events.jsonl
ETC=/etc/pavad
UNIT=pavad-edge.service
# shellcheck source=tests/vm/common.sh
. /check/common.sh

last_words() { journalctl --no-pager -o cat -u $UNIT -n 25; }
control() { v4l2-ctl -d /dev/video0 -c "$1"; }
as_pavad() { setpriv --reuid pavad --regid pavad --init-groups "$@"; }
watchdog() { [ "$(cat /sys/class/watchdog/watchdog0/state)" = "$1" ]; }
# confined COMMAND...: the command under the rules that systemd has set for the service's devices.
confined() {
    group=/sys/fs/cgroup$(systemctl show --property ControlGroup --value $UNIT)
    sh -c 'echo $$ > "$0/cgroup.procs" && exec "$@"' "$group" "$@"
}

set_up() {
    read_break
    load_modules /check/modules
    load_camera /check/modules 0
    ip link set lo up
    # udev gives it a name of its own.
    for link in /sys/class/net/e*; do
        ip link set "${link##*/}" up
        ip addr add 10.0.2.15/24 dev "${link##*/}"
    done
    ip route add default via 10.0.2.2

    mountpoint -q /sys/kernel/config || mount -t configfs config /sys/kernel/config
    set_up_lines
    udevadm settle

    # As provisioning does: the configuration beside the keys, the bundle where the unit looks for it.
    sed -e '/auto-format/d' -e 's#/dev/v4l/by-id/camera#/dev/video0#' \
        -e "s#\"/etc/model.pavad\"#\"$STATE/model.pavad\"#" -e "s#/etc/model.pub#$ETC/model.pub#" \
        -e "s#/etc/board.toml#$ETC/board.toml#" -e "s#/run/spool#$STATE/spool#" \
        -e "s#/run/events.jsonl#$EVENTS#" /check/edge.toml.in > /check/edge.toml
    sed "s#/dev/gpiochip0#$CHIP#" /check/board.toml > /check/board
    break_board /check/board
    case $BREAK in
        capture) control percentage_of_dropped_buffers=100 ;;
        sandbox)
            mkdir -p /etc/systemd/system/$UNIT.d
            printf '[Service]\nDeviceAllow=\nDeviceAllow=char-video4linux rw\n' \
                > /etc/systemd/system/$UNIT.d/break.conf
            systemctl daemon-reload
            ;;
    esac
    install -o root -g pavad -m 0640 /check/edge.toml $ETC/edge.toml
    install -o root -g pavad -m 0640 /check/board $ETC/board.toml
    install -o root -g pavad -m 0640 /check/model.pub $ETC/model.pub
    install -o root -g pavad -m 0640 /check/model.pavad $STATE/model.pavad
}

# The package's udev rules have done their work.
check_permissions() {
    for want in "$CHIP gpio" "/dev/watchdog0 pavad" "/dev/video0 video"; do
        node=${want% *}
        found=$(stat -c '%G %a' "$node")
        [ "$found" = "${want#* } 660" ] || fail permissions "$node: $found"
    done
    pass permissions
}

check_doctor() {
    as_pavad edge-runtime doctor --config $ETC/edge.toml > /check/doctor 2>&1
    code=$?
    for finding in 'camera gate: ' 'broker: ' 'key switch: armed'; do
        grep -q "^OK   $finding" /check/doctor || fail doctor "$(cat /check/doctor)"
    done
    [ $code = 0 ] || fail doctor "exit code $code: $(cat /check/doctor)"
    pass doctor
}

# `systemctl start` waits for the program to say that it is ready, with its first frame.
check_service() {
    timeout 180 systemctl start $UNIT || fail service "systemd could not start it"
    systemctl --quiet is-active $UNIT || fail service "it is $(systemctl is-active $UNIT)"
    pass service
}

# What it may open, and what it may not: root itself may not, under these rules.
check_sandbox() {
    head -c 1 /dev/vda > /dev/null || fail sandbox "the disk cannot be read at all"
    confined head -c 1 /dev/vda > /dev/null 2>&1 && fail sandbox "the service may read the disk"
    confined setpriv --reuid pavad --regid pavad --init-groups v4l2-ctl -d /dev/video0 --info \
        > /dev/null || fail sandbox "no camera"
    confined setpriv --reuid pavad --regid pavad --init-groups sh -c ": <> $CHIP" \
        || fail sandbox "no GPIO lines"
    pass sandbox
    for node in /dev/dri/renderD*; do
        [ -c "$node" ] || fail gpu-node "there is none"
        break
    done
    confined setpriv --reuid pavad --regid pavad --init-groups sh -c ": <> $node" \
        || fail gpu-node "$node cannot be opened"
    pass gpu-node
}

logged() { journalctl --no-pager -o cat -u $UNIT | grep -q "$1"; }

check_alarm() {
    within 20 logged "320x180" || fail capture "the camera's size was not negotiated"
    pass capture
    siren 0 || fail alarm-on "the siren is on before anything has happened"
    control osd_text_mode=2
    move
    within 30 siren 1 || fail alarm-on "the siren stays off"
    pass alarm-on
    rest
    within 30 siren 0 || fail alarm-off "the siren stays on"
    pass alarm-off
}

check_watchdog() {
    watchdog active || fail watchdog-fed "it was not started"
    # Twice the timeout: unfed it would have reset the machine by then.
    holds 10 watchdog active || fail watchdog-fed "it stopped"
    pass watchdog-fed
}

check_restart() {
    timeout 180 systemctl restart $UNIT || fail restart "systemd could not restart it"
    move
    within 30 siren 1 || fail restart "no alarm afterwards"
    pass restart
    # The siren sounds.
    systemctl stop $UNIT || fail stop "systemd could not stop it"
    siren 0 || fail stop "the siren is on"
    result=$(systemctl show --property Result --value $UNIT)
    [ "$result" = success ] || fail stop "systemd says $result"
    pass stop
    watchdog inactive || fail disarmed "the watchdog is not stopped after an orderly end"
    pass disarmed
}

say "BOOT"
set_up
say "READY"
check_permissions
check_doctor
check_service
check_sandbox
check_alarm
check_watchdog
check_restart
end
