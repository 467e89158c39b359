"""GStreamer's RTSP server with a camera on each path: gstreamer.py PORT.

It prints its version, then `ready`, and ends with its standard input.
"""

import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

SIZE = "video/x-raw,width=320,height=240,framerate=10/1"
H264 = "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=20 threads=1"
# A ball that moves on a picture with structure, so that there is something to see.
BALL = "videotestsrc is-live=true pattern=ball"

PATHS = {
    "h264": f"( {BALL} ! {SIZE} ! {H264} ! rtph264pay name=pay0 pt=96 )",
    # Sound is the first stream.
    "sound": (
        "( audiotestsrc is-live=true ! audio/x-raw,rate=8000,channels=1 ! alawenc "
        f"! rtppcmapay name=pay0 pt=8 {BALL} ! {SIZE} ! {H264} ! rtph264pay name=pay1 pt=97 )"
    ),
    # A picture of several slices, small units packed together.
    "slices": (
        "( videotestsrc is-live=true pattern=ball ! video/x-raw,width=640,height=480,framerate=10/1 "
        "! x264enc tune=zerolatency sliced-threads=true option-string=slices=4 "
        "speed-preset=ultrafast key-int-max=20 "
        "! rtph264pay name=pay0 pt=96 aggregate-mode=max-stap )"
    ),
    # Sends five seconds, then says goodbye.
    "ends": (
        f"( videotestsrc is-live=true pattern=ball num-buffers=50 ! {SIZE} ! {H264} "
        "! rtph264pay name=pay0 pt=96 )"
    ),
    # Let in by name and password only (digest).
    "locked": f"( {BALL} ! {SIZE} ! {H264} ! rtph264pay name=pay0 pt=96 )",
}


def main() -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(sys.argv[1])
    mounts = server.get_mount_points()
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_digest("viewer", "p@ss:wörd", token)
    anyone = GstRtspServer.RTSPToken()
    anyone.set_string("media.factory.role", "anyone")
    auth.set_default_token(anyone)
    for path, launch in PATHS.items():
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(launch)
        # One that ends begins anew for who comes back.
        factory.set_shared(path != "ends")
        permissions = GstRtspServer.RTSPPermissions()
        for role in ("viewer",) if path == "locked" else ("viewer", "anyone"):
            permissions.add_permission_for_role(role, "media.factory.access", True)
            permissions.add_permission_for_role(role, "media.factory.construct", True)
        factory.set_permissions(permissions)
        mounts.add_factory("/" + path, factory)
    server.set_auth(auth)
    if server.attach(None) == 0:
        sys.exit(f"port {sys.argv[1]} cannot be listened on")
    loop = GLib.MainLoop()

    def wait() -> None:
        sys.stdin.read()
        loop.quit()

    threading.Thread(target=wait, daemon=True).start()
    print(Gst.version_string(), flush=True)
    print("ready", flush=True)
    loop.run()


main()
