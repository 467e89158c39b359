"""The small pictures and clips of edge-runtime/video/tests/golden, which tests/processors.rs decodes.

    python3 tests/reference/pictures.py edge-runtime/video/tests/golden

Needs numpy, Pillow (13.0.0 was used) and PyAV (18.1.0, with FFmpeg 8). Other versions write other files,
whose digests then belong into the test.
"""

import pathlib
import sys
from fractions import Fraction

import av
import numpy as np
from PIL import Image

FRAMES = 6


def picture(width, height, t):
    """RGB with slopes, edges and noise, so that every coefficient of a transform occurs."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    noise = ((x * 31 + y * 57 + t * 13) * 2654435761 % 2**32 >> 24) % 48
    square = (abs(x - 20 - 5 * t) < 12) & (abs(y - 30) < 9)
    red = (x * 2 + noise + 100 * square) % 256
    green = (y * 3 + t * 9 + noise // 2) % 256
    blue = np.where((x // 7 + y // 5) % 2, 230 - noise, 20 + noise)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def jpegs(folder):
    colour = Image.fromarray(picture(99, 75, 0))
    for name, sampling in [("444", 0), ("422", 1), ("420", 2)]:
        colour.save(folder / f"{name}.jpg", quality=88, subsampling=sampling)
    colour.save(folder / "progressive.jpg", quality=75, subsampling=2, progressive=True)
    # Few coefficients: decoders have a shorter way for blocks without high frequencies.
    colour.save(folder / "coarse.jpg", quality=8, subsampling=2)
    Image.fromarray(picture(61, 43, 0)[:, :, 1].copy()).save(folder / "grey.jpg", quality=90)
    colour.crop((0, 0, 9, 7)).save(folder / "small.jpg", quality=90, subsampling=2)


def clip(path, codec, pixels, size, options, change=None, **settings):
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as out:
        stream = out.add_stream(codec, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, 10)
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        for t in range(FRAMES + 1):
            frame = None
            if t < FRAMES:
                frame = av.VideoFrame.from_ndarray(picture(*size, t), format="rgb24")
                frame = frame.reformat(format=pixels)
                frame.pts, frame.time_base = t, Fraction(1, 10)
            for packet in stream.encode(frame):
                if change:
                    changed = av.Packet(change(bytes(packet)))
                    changed.pts, changed.dts, changed.stream = packet.pts, packet.dts, stream
                    changed.time_base, changed.is_keyframe = packet.time_base, packet.is_keyframe
                    packet = changed
                out.mux(packet)


def as_xvid(packet):
    """With the user data by which decoders know Xvid's streams, whose transform they use then."""
    start = packet.find(b"\0\0\1\xb2")
    if start < 0:
        at = packet.find(b"\0\0\1\xb6")
        return packet[:at] + b"\0\0\1\xb2XviD0050" + packet[at:]
    end = packet.find(b"\0\0\1", start + 4)
    return packet[:start] + b"\0\0\1\xb2XviD0050" + packet[end:]


def clips(folder):
    even, odd = (98, 66), (97, 65)
    x264 = {"crf": "22", "preset": "slower", "x264-params": "cpu-independent=1:bframes=3:keyint=5"}
    x265 = {"crf": "22", "preset": "medium", "x265-params": "pools=none:frame-threads=1:log-level=none"}
    bt709, full = 1, 2
    clip(folder / "h264.mp4", "libx264", "yuv420p", even, x264)
    clip(folder / "h264-709.mp4", "libx264", "yuv420p", even, x264, colorspace=bt709)
    clip(folder / "h264-full.mkv", "libx264", "yuvj420p", even, x264, color_range=full)
    clip(folder / "h264-ten.mp4", "libx264", "yuv420p10le", even, x264)
    clip(folder / "h264-444.mp4", "libx264", "yuv444p", odd, x264)
    clip(folder / "hevc.mp4", "libx265", "yuv420p", even, x265)
    clip(folder / "hevc-ten.mkv", "libx265", "yuv420p10le", even, x265)
    mpeg4 = {"qscale": "3", "flags": "+qscale", "bf": "2"}
    clip(folder / "mpeg4.avi", "mpeg4", "yuv420p", odd, mpeg4)
    clip(folder / "xvid.avi", "mpeg4", "yuv420p", odd, {"qscale": "3"}, change=as_xvid)
    clip(folder / "mjpeg.avi", "mjpeg", "yuvj422p", odd, {"qscale": "3"}, color_range=full)
    clip(folder / "vp9.webm", "libvpx-vp9", "yuv420p", odd, {"crf": "24", "cpu-used": "4"})


if __name__ == "__main__":
    target = pathlib.Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    jpegs(target)
    clips(target)
