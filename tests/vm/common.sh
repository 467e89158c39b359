# What the checks in both machines have in common; `init.sh` and `packaged.sh` begin by reading it. Of them
# it wants EVENTS, the file of the program's events, and `last_words`, which prints the end of its log.
#
# They print one line for each check, `VM PASS <name>` or `VM FAIL <name>: <why>`, and `VM END` when it is
# done; `VM ALERT <json>` and `VM LOG <line>` carry what the program itself has written. Nothing else is
# believed by the host.
# shellcheck shell=sh
SIM=
CHIP=
# What the host wants broken, to see the check for it fail.
BREAK=none
# Seconds of faults over and over, if the host wants the long run.
LONG=0

say() { echo "VM $*"; }
pass() { say "PASS $1"; }
fail() {
    name=$1
    shift
    say "FAIL $name: $*"
    last_words 2> /dev/null | sed 's/^/VM LOG /'
    end
}
end() {
    [ -f "$EVENTS" ] && sed 's/^/VM ALERT /' "$EVENTS"
    say "END"
    sync
    # The host ends the machine when it has read that.
    while :; do sleep 1; done
}

# within SECONDS COMMAND...: whether the command succeeds within that time.
within() {
    tries=$(($1 * 5))
    shift
    while [ $tries -gt 0 ]; do
        "$@" && return 0
        sleep 0.2
        tries=$((tries - 1))
    done
    return 1
}
# holds SECONDS COMMAND...: whether the command succeeds all that time.
holds() {
    tries=$(($1 * 5))
    shift
    while [ $tries -gt 0 ]; do
        "$@" || return 1
        sleep 0.2
        tries=$((tries - 1))
    done
}

line() { cat "$SIM/sim_gpio$1/value"; }
is() { [ "$(line "$1")" = "$2" ]; }
siren() { is 3 "$1"; }
led() { is 4 "$1"; }
key() { echo "pull-$1" > "$SIM/sim_gpio5/pull"; }
# The camera that `control` works films: bars that move are an incident, bars that stand are none.
move() { control horizontal_movement=6; }
rest() { control horizontal_movement=3; }

read_break() {
    read -r words < /proc/cmdline
    for word in $words; do
        case $word in
            pavad.break=*) BREAK=${word#pavad.break=} ;;
            pavad.long=*) LONG=${word#pavad.long=} ;;
        esac
    done
}

# load_modules FOLDER: those of the host's list.
load_modules() {
    while read -r module; do
        insmod "$1/$module" || say "LOG no module $module"
    done < "$1/order"
}

# load_camera FOLDER NUMBER: the camera appears as /dev/videoNUMBER.
load_camera() {
    insmod "$1/vivid.ko" n_devs=1 node_types=0x1 num_inputs=1 input_types=0x0 \
        "vid_cap_nr=$2" no_error_inj=0
}

# Eight lines: 3 is the siren, 4 the LED, 5 the key switch, which is on.
set_up_lines() {
    sim=/sys/kernel/config/gpio-sim/board
    mkdir -p $sim/bank0/line3
    echo 8 > $sim/bank0/num_lines
    echo siren > $sim/bank0/line3/name
    echo 1 > $sim/live
    CHIP=/dev/$(cat $sim/bank0/chip_name)
    SIM=/sys/devices/platform/$(cat $sim/dev_name)/$(cat $sim/bank0/chip_name)
    key up
}

# break_board FILE: the board file as BREAK wants it.
break_board() {
    case $BREAK in
        # The file names the siren by its line's name; here that name is another line's.
        alarm) sed -i "s#name = \"siren\"#chip = \"$CHIP\"\nline = 2#" "$1" ;;
        watchdog) sed -i '/^\[watchdog\]/,/^$/d' "$1" ;;
    esac
}
