"""Video files, decoded frame-exactly by seeking.

- One pass over the packets (nothing is decoded) gives the exact time, order and key frames of a
  file, also where the container reports no frame count or duration, where the frame rate varies
  and where timestamps start below or above zero.
- What a seek lands on is checked against that index: a seek that misses costs time, never a wrong
  frame.
- Where the packets do not tell when each frame is shown (AVI, raw streams), frames are counted by
  decoding from the start; still only one is in memory.
- Demuxers that open other files or addresses (playlists, image patterns) are not allowed.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from jaxtyping import Float, Integer

from vidllm.types import VidLLMError
from vidllm.video.packet_index import PacketIndex
from vidllm.video.picture import PictureMaker
from vidllm.video.source import RGB, FrameSource

_DEMUXERS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,mxf,ivf,h264,hevc,m4v,mpegvideo,"
    "mp3,wav,flac,aac,aiff"
)
_LIBAV_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _DEMUXERS}
_MOV_ATOMS = (b"ftyp", b"mdat", b"moov", b"wide", b"free", b"skip")
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_ATTEMPTS = 3
"""A frame that does not come out is looked for again from each of the two key frames before."""
_MISSING_TAIL = 0.5
"""Seconds by which a Matroska header may promise more than the file holds."""
_USUAL_RATE = 25
"""Frames per second of a stream that tells neither times nor a rate."""


class VideoFile(FrameSource):
    """A video file that stays on disk.

    Raises:
        VidLLMError: it is not a video, has no video stream, or no frames.
    """

    def __init__(self, path: Path):
        self.name = str(path)
        self.frames_decoded = 0
        """What all reads so far have cost."""
        self._path = path
        self._container = _open_container(path)
        try:
            self._find_frames()
        except BaseException:
            self.close()
            raise

    def _find_frames(self) -> None:
        self._choose_stream()
        context = self._stream.codec_context
        self.megapixels = context.width * context.height / 1e6
        self._index = self._scan()
        self._counted = self._index is None
        if self._index is None:
            seconds = self._count_frames()
            self._index = PacketIndex.counted(len(seconds))
        else:
            seconds = self._index.pts * float(self._stream.time_base)
        if not len(seconds):
            raise VidLLMError(f"{self.name}: holds no frames that can be read; is it damaged?")
        self.timestamps = seconds - seconds[0]

    @property
    def key_frames(self) -> Integer[np.ndarray, "K"]:
        return self._index.key_frames

    def decode_cost(self, indices: Sequence[int]) -> int:
        return self._index.cost(indices)

    def close(self) -> None:
        self._container.close()

    def read(self, indices: Sequence[int], max_side: int | None) -> Iterator[tuple[int, RGB]]:
        picture = PictureMaker(self.name, self._stream.sample_aspect_ratio, max_side)
        for start, group in self._index.runs(indices):
            missing = set(group)
            for _ in range(_ATTEMPTS):
                for index, frame in self._decode_run(start, last=max(missing)):
                    if index in missing:
                        missing.remove(index)
                        yield index, picture(frame)
                if not missing or start == 0:
                    break
                start = self._index.earlier_start(start)

    def _scan(self) -> PacketIndex | None:
        """Reads all packets once. None when they do not tell when each frame is shown."""
        container, stream = self._container, self._stream
        is_matroska = "matroska" in container.format.name
        pts, is_key, is_shown = array("q"), array("b"), array("b")
        count, end, self.damage = 0, 0, ""
        # AVI numbers packets in file order and passes that off as the time of presentation.
        timed = container.format.name != "avi"
        try:
            for packet in _demux(container, [] if is_matroska else [stream]):
                if is_matroska and packet.pts is not None:  # one time base for all its streams
                    end = max(end, packet.pts + (packet.duration or 0))
                if packet.stream_index != stream.index:
                    continue
                count += 1
                if packet.is_corrupt:
                    self.damage = "some of its packets are incomplete"
                    continue
                timed &= packet.pts is not None
                pts.append(packet.pts or 0)
                is_key.append(packet.is_keyframe)
                is_shown.append(not packet.is_discard and not _is_hidden(packet, stream))
        except av.FFmpegError:
            self.damage = "its data breaks off"
        promised = (container.duration or 0) / av.time_base if is_matroska else 0
        missing_tail = promised - end * float(stream.time_base)
        if len(stream.index_entries) > count or missing_tail > _MISSING_TAIL:
            self.damage = "it ends before what its header promises"
        times = np.array(pts, np.int64)
        if not timed or len(np.unique(times)) < len(times):
            return None
        return PacketIndex(times, np.array(is_key, bool), np.array(is_shown, bool))

    def _count_frames(self) -> Float[np.ndarray, "N"]:
        """Decodes the whole file for the time of each frame, in seconds."""
        self._reopen()
        times = np.array([f.time for f in self._decoded(self._packets())], dtype=float)
        if np.all(np.diff(times) > 0):  # False where a time is missing, too
            return times
        rate = self._stream.average_rate or self._stream.guessed_rate or _USUAL_RATE
        return np.arange(len(times)) / float(rate)

    def _decode_run(self, start: int, *, last: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Frames and their indices, decoded from position ``start`` until ``last`` is past."""
        if self._counted:
            self._reopen()
            frames: Iterable = enumerate(self._decoded(self._packets()))
        else:
            decoded = self._decoded(self._packets_from(start))
            frames = ((self._index.index(frame.pts), frame) for frame in decoded)
        for index, frame in frames:
            if index is None:
                continue
            yield index, frame
            if index >= last:
                return

    def _decoded(self, packets: Iterable[av.Packet]) -> Iterator[av.VideoFrame]:
        """Frames in display order; packets that cannot be decoded are passed over."""
        for packet in chain(packets, [None]):
            frames = []
            with suppress(av.FFmpegError):
                frames = self._decoder.decode(packet)
            self.frames_decoded += len(frames)
            yield from frames

    def _packets(self) -> Iterator[av.Packet]:
        """Whole packets from here to the end, or to where the file breaks off."""
        with suppress(av.FFmpegError):
            for packet in _demux(self._container, [self._stream]):
                if not packet.is_corrupt:
                    yield packet

    def _packets_from(self, start: int) -> Iterator[av.Packet]:
        """Packets from position ``start`` on, reached by a seek or else from the top."""
        first_pts = int(self._index.file_pts[start])
        for go_before in (self._seek, self._reopen):
            go_before(first_pts)
            packets = self._packets()
            for packet in packets:
                if packet.pts == first_pts:
                    yield from chain([packet], packets)
                    return
                index = self._index.index(packet.pts)
                if index is not None and self._index.position_of[index] > start:
                    break

    def _seek(self, pts: int) -> None:
        with suppress(av.FFmpegError):
            self._container.seek(pts, stream=self._stream)
        self._decoder.flush_buffers()

    def _reopen(self, _pts: int = 0) -> None:
        self._container.close()
        self._container = _open_container(self._path)
        self._choose_stream()

    def _choose_stream(self) -> None:
        self._stream = _video_stream(self._container, self.name)
        self._decoder = _decoder(self._stream)


def _open_container(path: Path) -> InputContainer:
    try:
        return av.open(f"file:{path}", options=_LIBAV_OPTIONS, metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise VidLLMError(f"{path}: {_why_unreadable(path)}") from error


def _why_unreadable(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(8)
    if head[4:] in _MOV_ATOMS:
        return "the video's index is missing (recording or copy cut short?); copy it again"
    return "not a video that can be read; mp4, mov, mkv and webm are"


def _demux(container: InputContainer, streams: list[VideoStream]) -> Iterator[av.Packet]:
    """Packets of some streams, or of all; without the empty ones that PyAV puts at the end."""
    # PyAV trips over its own end mark where a stream began in the middle of the file.
    with suppress(IndexError):
        for packet in container.demux(*streams):
            if packet.size:
                yield packet


def _video_stream(container: InputContainer, name: str) -> VideoStream:
    """The first stream of moving pictures: a song's cover is a video stream, too."""
    cover = Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & cover]
    if not streams:
        raise VidLLMError(f"{name}: has no video in it (only sound?)")
    if streams[0].codec_context is None:
        raise VidLLMError(f"{name}: its video codec is not supported; convert it to H.264 mp4")
    return streams[0]


def _decoder(stream: VideoStream) -> VideoCodecContext:
    """The stream's decoder, or for VP8 and VP9 with transparency the one that can see it."""
    decoder = stream.codec_context
    if stream.metadata.get("alpha_mode") == "1" and decoder.name in _ALPHA_DECODERS:
        decoder = av.CodecContext.create(_ALPHA_DECODERS[decoder.name], "r")
    decoder.thread_type = "AUTO"
    return decoder


def _is_hidden(packet: av.Packet, stream: VideoStream) -> bool:
    """Whether a VP8 packet is a reference that is never shown (RFC 6386, 9.1: show_frame)."""
    return stream.codec_context.name == "vp8" and not memoryview(packet)[0] & 0x10
