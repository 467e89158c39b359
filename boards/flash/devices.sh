#!/bin/sh
# A list of devices for flash.sh, sourced by flash-board.sh: CSV with the header `device,site`, a line a
# device, its name and the folder with its site.toml and what that names, relative to the list. Everything
# is checked before the first board is touched. Names of devices need no quotes, and have none.

# check_devices FILE: stops at the first line that is not as it should be.
check_devices() {
    list=$1
    [ -f "$list" ] || die 2 "$list: no such file"
    base=$(dirname "$list")
    number=0 seen=' '
    while IFS= read -r line || [ -n "$line" ]; do
        number=$((number + 1))
        line=$(printf '%s' "$line" | tr -d '\r')
        if [ "$number" = 1 ]; then
            [ "$line" = "device,site" ] || die 2 "$list, line 1: '$line'; the header must be device,site"
            continue
        fi
        [ -n "$line" ] || continue
        device=${line%%,*} site=${line#*,}
        case $line in
            *,*,*) die 2 "$list, line $number: more than two fields" ;;
            *,*) ;;
            *) die 2 "$list, line $number: no site; a line is device,site" ;;
        esac
        case $device in
            '' | *[!a-z0-9-]*) die 2 "$list, line $number, device: '$device'; a name is of a-z, 0-9 and -" ;;
        esac
        case $seen in
            *" $device "*) die 2 "$list, line $number, device: '$device' is there twice" ;;
        esac
        seen="$seen$device "
        [ -n "$site" ] || die 2 "$list, line $number, site: empty; it is the folder of $device"
        toml=$base/$site/site.toml
        [ -f "$toml" ] || die 2 "$list, line $number, site: $toml: no such file"
        # The first assignment of a TOML file's root; pavad-provision reads all of it on the device.
        named=$(sed -n 's/^device *= *"\([^"]*\)".*/\1/p' "$toml" | head -n 1)
        [ "$named" = "$device" ] || die 2 "$toml, device: '$named'; $list, line $number says '$device'"
    done < "$list"
    [ "$seen" != ' ' ] || die 2 "$list: no devices"
}

# each_device FILE COMMAND: runs COMMAND with the name and the folder of each device. Standard input stays
# the caller's.
each_device() {
    base=$(cd "$(dirname "$1")" && pwd)
    exec 3< "$1"
    IFS= read -r line <&3
    while IFS= read -r line <&3 || [ -n "$line" ]; do
        line=$(printf '%s' "$line" | tr -d '\r')
        [ -z "$line" ] || "$2" "${line%%,*}" "$base/${line#*,}"
        line=''
    done
    exec 3<&-
}
