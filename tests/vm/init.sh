#!/bin/sh
# The first program of the virtual machine. It makes a camera, GPIO lines and a watchdog out of the
# kernel's own simulations, runs the camera program on them and looks at what it does.
#
# The machine starts twice: the watchdog ends the first run. A mark on the disk tells the second.
set -u
export PATH=/bin
LOG=/run/edge.log
EVENTS=/run/events.jsonl
PID=
# shellcheck source=tests/vm/common.sh
. /etc/common.sh

last_words() { tail -n 25 "$LOG"; }
logged() { tail -n "+$((MARK + 1))" "$LOG" | grep -q "$1"; }
mark() { MARK=$(wc -l < "$LOG"); }
control() { v4l2-ctl -d "$(readlink -f /dev/v4l/by-id/camera)" -c "$1"; }
ended() { ! kill -0 "$PID" 2>/dev/null; }

# plug NUMBER: the camera appears as /dev/videoNUMBER, and its stable path leads there, as udev does.
plug() {
    load_camera /lib/modules "$1"
    within 5 [ -c "/dev/video$1" ] || fail plug "no /dev/video$1"
    if [ "$BREAK" != recovery ] || [ "$1" = 0 ]; then
        mkdir -p /dev/v4l/by-id
        ln -sf "../../video$1" /dev/v4l/by-id/camera
    fi
    # Without the running clock that vivid writes into its picture.
    v4l2-ctl -d "/dev/video$1" -c osd_text_mode=2
    if [ "$BREAK" = capture ]; then
        v4l2-ctl -d "/dev/video$1" -c percentage_of_dropped_buffers=100
    fi
}
# The camera program has the device open, so the driver is first taken from the device: that is what
# pulling a plug does.
unplug() {
    echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind
    within 20 rmmod vivid 2>/dev/null || fail unplug "the camera program keeps a device that is gone"
}

start() {
    edge-runtime run --config /etc/edge.toml >> "$LOG" 2>&1 &
    PID=$!
}

set_up() {
    mount -t proc proc /proc
    mount -t sysfs sys /sys
    mount -t devtmpfs dev /dev
    mount -t tmpfs tmp /run
    mount -t tmpfs tmp /tmp
    read_break
    load_modules /lib/modules
    mount -t configfs config /sys/kernel/config
    ip link set lo up
    ip link set eth0 up
    ip addr add 10.0.2.15/24 dev eth0
    ip route add default via 10.0.2.2
    : > "$LOG"
    MARK=0
}

# The camera is not there when the machine starts, and is brought later.
check_absent() {
    sed '/auto-format/d' /etc/edge.toml.in > /etc/edge.toml
    mark
    start
    within 30 logged "it is waited for" || fail absent "nothing is said of a camera that is not there"
    # Longer than its patience with a silent camera, and than ten attempts a second apart.
    holds 20 kill -0 "$PID" || fail absent "the program ended without its camera"
    pass absent
    mark
    plug 0
    within 30 logged "is running" || fail brought "the camera is there and no frame came"
    move
    within 20 siren 1 || fail brought "no alarm"
    rest
    within 20 siren 0 || fail brought "the siren stays on"
    kill -TERM "$PID"
    within 15 ended || fail brought "the program does not end"
    pass brought
}

# reload SED: SIGHUP with the configuration changed so, which is kept in /run/edge.toml as it was.
reload() {
    sed "$1" /run/edge.toml > /etc/edge.toml
    mark
    kill -HUP "$PID"
}
# A bundle that is not there, no TOML, a camera of a name that cannot be: each refused with a word.
refuse() {
    cp /etc/edge.toml /run/edge.toml
    for bad in 's#/etc/model.pavad#/etc/none.pavad#' 's/^device = .*/device = [/' 's/"gate"/"the gate"/'; do
        reload "$bad"
        within 20 logged "stays as it was" || fail "$1" "nothing is said of '$bad'"
        kill -0 "$PID" || fail "$1" "'$bad' ended the program"
    done
    cp /run/edge.toml /etc/edge.toml
}

check_reload() {
    refuse reload-refused
    move
    within 20 siren 1 || fail reload-refused "no alarm afterwards"
    rest
    within 20 siren 0 || fail reload-refused "the siren stays on"
    pass reload-refused
    # Another one that can be run is, and the program is the same.
    cp /etc/edge.toml /run/edge.toml
    reload 's/^status_every = .*/status_every = 2/'
    within 30 logged "read again" || fail reload "it was not read"
    within 30 logged "is running" || fail reload "no frame came afterwards"
    kill -0 "$PID" || fail reload "the program ended"
    pass reload
}

# The faults of an installation over and over, for LONG seconds: nothing ends the program.
check_long() {
    read -r now _ < /proc/uptime
    until=$((${now%.*} + LONG))
    number=6
    rounds=0
    while [ "${now%.*}" -lt $until ]; do
        mark
        unplug
        within 30 logged "is opened again\|waited for" || fail long "round $rounds: the loss was not noticed"
        refuse long
        sleep 3
        mark
        plug $number
        within 30 logged "is running\|open: 320x180" || fail long "round $rounds: the camera is not looked at"
        cp /etc/edge.toml /run/edge.toml
        reload "s/^status_every = .*/status_every = $((rounds % 5 + 1))/"
        within 30 logged "is running" || fail long "round $rounds: no frame after a new configuration"
        move
        within 20 siren 1 || fail long "round $rounds: no alarm"
        rest
        within 20 siren 0 || fail long "round $rounds: the siren stays on"
        kill -0 "$PID" || fail long "round $rounds: the program ended"
        number=$((13 - number))
        rounds=$((rounds + 1))
        read -r now _ < /proc/uptime
    done
    say "LOG $rounds rounds of faults in $LONG s"
    pass long
}

check_negotiation() {
    for want in "yuyv YUYV" "nv12 NV12"; do
        sed "s/\"auto-format\"/\"${want% *}\"/" /etc/edge.toml.in > /etc/edge.toml
        mark
        start
        within 30 logged "320x180 ${want#* } at \(10\|9\)\.. frames" \
            || fail "format-${want% *}" "was not negotiated"
        within 30 logged "is running" || fail "format-${want% *}" "no frame came"
        kill -TERM "$PID"
        within 15 ended || fail "format-${want% *}" "the program does not end"
        pass "format-${want% *}"
    done
    sed 's/"auto-format"/"mjpeg"/' /etc/edge.toml.in > /etc/edge.toml
    edge-runtime doctor --config /etc/edge.toml > /run/doctor 2>&1
    grep -q '^FAIL camera gate: .*none of MJPG' /run/doctor || fail format-refused "$(cat /run/doctor)"
    pass format-refused
    # What vivid offers at this size, and the controls of the configuration.
    sed '/auto-format/d' /etc/edge.toml.in > /etc/edge.toml
    edge-runtime doctor --config /etc/edge.toml > /run/doctor 2>&1
    grep -q '^OK   camera gate: ' /run/doctor || fail doctor "$(cat /run/doctor)"
    grep -q '^OK   key switch: armed' /run/doctor || fail doctor "$(cat /run/doctor)"
    grep -q '^OK   broker: ' /run/doctor || fail doctor "$(cat /run/doctor)"
    pass doctor
    v4l2-ctl -d /dev/video0 -C brightness | grep -q ': 99$' || fail controls "brightness is not 99"
    pass controls
}

check_alarm() {
    siren 0 || fail alarm-quiet "the siren is on before anything has happened"
    move
    within 20 siren 1 || fail alarm-on "the siren stays off"
    pass alarm-on
    rest
    within 20 siren 0 || fail alarm-off "the siren stays on"
    pass alarm-off
    for phase in new end; do
        grep -q "\"phase\":\"$phase\"" $EVENTS || fail events "no $phase is written"
    done
    pass events
}

check_key() {
    move
    within 20 siren 1 || fail disarm "no alarm to begin with"
    key down
    within 5 siren 0 || fail disarm "the key switch does not silence the siren"
    holds 2 siren 0 || fail disarm "the siren comes back"
    pass disarm
    key up
    within 5 siren 1 || fail arm "the siren is not armed again"
    pass arm
    rest
    within 20 siren 0 || fail arm "the siren stays on"
}

check_led() {
    # Healthy is steady; an alarm blinks.
    within 10 holds 2 led 1 || fail led-healthy "the LED is not steady"
    pass led-healthy
}

check_glitch() {
    mark
    control disconnect=1
    within 10 logged "is opened again" || fail glitch "the loss was not noticed"
    within 20 logged "open: 320x180" || fail glitch "the camera was not opened again"
    control osd_text_mode=2
    sleep 1
    move
    within 20 siren 1 || fail glitch "no alarm after a short disconnection"
    rest
    within 20 siren 0 || fail glitch "the siren stays on"
    pass glitch
}

check_unplug() {
    move
    within 20 siren 1 || fail unplug "no alarm to begin with"
    mark
    unplug
    within 10 siren 0 || fail unplug "the incident of a camera that is gone goes on"
    pass unplug
    # Longer than the watchdog's patience with a silent camera: one that is gone is no reason to reset.
    holds 14 kill -0 "$PID" || fail unplugged "the program ended"
    pass unplugged
    plug 5
    within 30 logged "open: 320x180" || fail replug "the camera was not opened again at its new number"
    sleep 1
    move
    within 20 siren 1 || fail replug "no alarm after the camera came back"
    rest
    within 20 siren 0 || fail replug "the siren stays on"
    pass replug
}

check_end() {
    move
    within 20 siren 1 || fail sigterm "no alarm to begin with"
    kill -TERM "$PID"
    within 3 siren 0 || fail sigterm "the siren is on after SIGTERM"
    within 15 ended || fail sigterm "the program does not end"
    wait "$PID"
    code=$?
    [ "$code" = 0 ] || fail sigterm "exit code $code"
    led 0 || fail sigterm "the LED is on"
    siren 0 || fail sigterm "the siren is on"
    pass sigterm
    state=$(cat /sys/class/watchdog/watchdog0/state)
    [ "$state" = inactive ] || fail disarmed "the watchdog is $state after an orderly end"
    pass disarmed
    rest
}

watchdog_runs() {
    [ "$(cat /sys/class/watchdog/watchdog0/state)" = active ]
}

check_watchdog() {
    mark
    start
    within 30 logged "is running" || fail watchdog "no frames"
    watchdog_runs || fail watchdog "it was not started"
    timeout=$(cat /sys/class/watchdog/watchdog0/timeout)
    [ "$timeout" = 5 ] || fail watchdog "its timeout is $timeout s, the board file says 5"
    # Twice the timeout: unfed it would have reset the machine by then.
    holds 10 watchdog_runs || fail watchdog "it stopped"
    pass watchdog-fed
    sed 's/^/VM ALERT /' $EVENTS
    : > $EVENTS
    echo reset-expected > /dev/vda
    sync
    say "BITE"
    control percentage_of_dropped_buffers=100
    sleep 40
    echo none > /dev/vda
    fail watchdog-bites "frames have been gone for 40 s and the machine still runs"
}

set_up
say "BOOT"
if [ "$(head -n 1 /dev/vda)" = reset-expected ]; then
    say "PASS watchdog-bites"
    end
fi
set_up_lines
break_board /etc/board.toml
say "READY"
check_absent
check_negotiation
mark
start
within 30 logged "is running" || fail capture "no frame came"
pass capture
check_led
check_alarm
check_key
check_glitch
check_unplug
check_reload
[ "$LONG" = 0 ] || check_long
check_end
check_watchdog
