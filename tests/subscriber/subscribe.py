"""A subscriber in another language: checks every JSON message of a device against its schema.

    subscribe.py PORT ROOT SCHEMAS

Subscribes to everything below ROOT at the broker on 127.0.0.1, prints one line of JSON for each
message, {"topic", "retained", "problem": null or text, "value": ...}, and ends after the device has
said `stopped` and its last status has come.
"""

import json
import pathlib
import sys
import time

import jsonschema
import paho.mqtt.client as mqtt


def validator(folder, name):
    schema = json.loads((folder / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def strict(text):
    """JSON as the standard has it: Python's own reader also takes NaN and repeated keys."""

    def pairs(items):
        keys = [key for key, _ in items]
        if len(keys) != len(set(keys)):
            raise ValueError("a key comes twice")
        return dict(items)

    def refuse(word):
        raise ValueError(f"{word} is not JSON")

    return json.loads(text, object_pairs_hook=pairs, parse_constant=refuse)


def problem_of(levels, payload, validators):
    """Why the payload is not what its topic promises, and the value read from it."""
    match levels:
        case ["events", _, "postcard"] | ["cameras", _, "snapshot"]:
            return None, len(payload)
        case ["events", _]:
            schema = "event"
        case ["status" | "telemetry" | "bundle" as schema]:
            pass
        case ["availability"]:
            word = payload.decode()
            known = word in ("online", "offline", "stopped")
            return (None if known else "unknown word"), word
        case ["armed"] | ["cameras", _, "armed"]:
            word = payload.decode()
            return (None if word in ("ON", "OFF") else "unknown word"), word
        case ["cameras", _, "threshold"]:
            value = float(payload)
            return (None if 0 < value <= 1 else "out of range"), value
        case _:
            return "a topic that is not documented", None
    value = strict(payload.decode())
    error = next(validators[schema].iter_errors(value), None)
    return (f"{error.json_path}: {error.message}" if error else None), value


def main():
    port, root, folder = int(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
    names = ["event", "status", "telemetry", "bundle"]
    validators = {name: validator(folder, name) for name in names}
    ended = {"availability": False, "status": False}

    def on_connect(client, userdata, flags, reason, properties):
        client.subscribe(f"{root}/#", qos=1)

    def on_subscribe(client, userdata, mid, reasons, properties):
        print(json.dumps({"topic": "", "problem": None, "retained": False, "value": "ready"}), flush=True)

    def on_message(client, userdata, message):
        levels = message.topic.removeprefix(root + "/").split("/")
        if levels[-1] == "set":
            return
        try:
            problem, value = problem_of(levels, message.payload, validators)
        except (ValueError, UnicodeDecodeError) as error:
            problem, value = str(error), None
        line = {"topic": "/".join(levels), "retained": message.retain, "problem": problem, "value": value}
        print(json.dumps(line), flush=True)
        if levels == ["status"] and isinstance(value, dict):
            ended["status"] = value.get("state") == "stopped"
        if levels == ["availability"]:
            ended["availability"] = value == "stopped"
        if all(ended.values()):
            client.disconnect()

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="schema-check", protocol=mqtt.MQTTv5)
    client.on_connect, client.on_message, client.on_subscribe = on_connect, on_message, on_subscribe
    client.connect("127.0.0.1", port)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and client.loop(timeout=0.2) == mqtt.MQTT_ERR_SUCCESS:
        pass


main()
