"""Home Assistant's core with its MQTT integration alone: home_assistant.py FOLDER MQTT_PORT HTTP_PORT.

It prints its version and `ready`, then a line of JSON a second: the state and the attributes of every entity
that discovery has made, and what was logged since the line before. It ends with its standard input.
"""

import asyncio
import json
import logging
import pathlib
import sys

from homeassistant import auth, bootstrap, config_entries, const, core, loader
from homeassistant.helpers import entity_registry
from homeassistant.setup import async_setup_component

# What these say is a complaint about what the device has published.
LOGGERS = ("homeassistant.components.mqtt", "homeassistant.helpers.template")
WORDS = []


class Words(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        WORDS.append(f"{record.levelname} {record.name}: {record.getMessage()}")


def entry(port: int) -> dict:
    time = "2026-01-01T00:00:00+00:00"
    return {
        "created_at": time,
        "data": {"broker": "127.0.0.1", "port": port, "discovery": True},
        "disabled_by": None,
        "discovery_keys": {},
        "domain": "mqtt",
        "entry_id": "01JABCDEF0000000000000MQTT",
        "minor_version": 2,
        "modified_at": time,
        "options": {},
        "pref_disable_new_entities": False,
        "pref_disable_polling": False,
        "source": "user",
        "subentries": [],
        "title": "broker",
        "unique_id": None,
        "version": 1,
    }


async def main() -> None:
    folder, mqtt_port, http_port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    storage = pathlib.Path(folder, ".storage")
    storage.mkdir(parents=True, exist_ok=True)
    entries = {
        "version": 1,
        "minor_version": 5,
        "key": "core.config_entries",
        "data": {"entries": [entry(mqtt_port)]},
    }
    pathlib.Path(storage, "core.config_entries").write_text(json.dumps(entries))
    pathlib.Path(folder, "configuration.yaml").touch()
    hass = core.HomeAssistant(folder)
    hass.config.skip_pip = True
    hass.config.config_dir = folder
    loader.async_setup(hass)
    hass.config_entries = config_entries.ConfigEntries(hass, {})
    await bootstrap.async_load_base_functionality(hass)
    hass.auth = await auth.auth_manager_from_config(hass, [], [])
    await async_setup_component(hass, "homeassistant", {})
    http = {"http": {"server_host": "127.0.0.1", "server_port": http_port}}
    if not await async_setup_component(hass, "http", http):
        sys.exit("http was not set up")
    if not await async_setup_component(hass, "mqtt", {}):
        sys.exit("mqtt was not set up")
    await hass.async_start()
    states = [e.state.value for e in hass.config_entries.async_entries("mqtt")]
    if states != ["loaded"]:
        sys.exit(f"the MQTT integration is {states}")
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)
        logging.getLogger(name).addHandler(Words())
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    print(f"Home Assistant {const.__version__}", flush=True)
    print("ready", flush=True)
    while not ended.done():
        registry = entity_registry.async_get(hass)
        entities = {
            state.entity_id: {"state": state.state, "attributes": dict(state.attributes)}
            for state in hass.states.async_all()
            if state.entity_id in registry.entities
        }
        said, WORDS[:] = WORDS[:], []
        line = json.dumps({"entities": entities, "said": said}, default=str)
        print(line, flush=True)
        await asyncio.sleep(1)
    await hass.async_stop(force=True)


asyncio.run(main())
