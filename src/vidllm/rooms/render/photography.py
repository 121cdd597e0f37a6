"""What a phone's camera does to the light: exposure, colour, lens, sensor, compression.

Exposure follows the light with a delay, as phones do, so panning to a window darkens the room after
a moment. Everything random is drawn from the seed in `Photography`, frame by frame in order.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
_KEY = 0.2
"""Radiance that the scene's mean is exposed to."""
_BRIGHT = 4.5
"""Radiance that the brightest tenth is held under, after exposure."""
_CURVE_STEPS = 4096
_CURVE_END = 16.0


@dataclass(frozen=True, kw_only=True)
class Photography:
    """How a clip was filmed. The defaults add nothing but exposure and the tone curve."""

    exposure: float = 0.0
    """Stops brighter (or darker) than the automatic choice."""
    exposure_lag: float = 0.0
    """Share of the exposure's error that is left after a frame; 0 follows at once."""
    exposure_drift: float = 0.0
    """Stops; deviation of a slow random walk."""
    contrast: float = 1.0
    """1 is the filmic curve; less blends towards a plain gamma."""
    saturation: float = 1.0
    white_balance: tuple[float, float] = (1.0, 1.0)
    """Gains of red and blue over green."""
    auto_white_balance: float = 0.0
    """Share of the frame's own colour cast that is taken out."""
    white_balance_drift: float = 0.0
    """Deviation of the gains' slow random walk."""
    vignetting: float = 0.0
    """Share of light lost in the corners."""
    softness: float = 0.0
    """Deviation of the lens's blur, pixels."""
    bloom: float = 0.0
    """Share of light that spreads around bright places."""
    shot_noise: float = 0.0
    """Deviation at full brightness, in [0, 1] of full scale; grows with the root of the light."""
    read_noise: float = 0.0
    """Deviation everywhere, in [0, 1] of full scale."""
    jpeg_quality: int | None = None
    """1 to 95; ``None`` leaves the pixels alone."""
    shutter: float = 0.0
    """Share of the time between frames that the shutter is open; `Renderer.render` takes it."""
    seed: int = 0

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Photography":
        """A plausible camera and operator, different for every clip."""
        noise = float(rng.gamma(1.2, 0.006))
        warmth = rng.normal(0, 0.06)
        return cls(
            exposure=float(np.clip(rng.normal(0.05, 0.3), -0.7, 0.7)),
            exposure_lag=float(rng.uniform(0.6, 0.95)),
            exposure_drift=float(rng.uniform(0, 0.1)),
            contrast=float(rng.uniform(0.35, 1.0)),
            saturation=float(np.clip(rng.normal(1.0, 0.15), 0.6, 1.4)),
            white_balance=(float(np.exp(warmth)), float(np.exp(-warmth + rng.normal(0, 0.03)))),
            auto_white_balance=float(rng.uniform(0.2, 0.8)),
            white_balance_drift=float(rng.uniform(0, 0.02)),
            vignetting=float(rng.uniform(0, 0.35)),
            softness=float(rng.uniform(0, 0.6)),
            bloom=float(rng.uniform(0, 0.08)),
            shot_noise=noise,
            read_noise=0.3 * noise,
            jpeg_quality=int(rng.integers(55, 95)) if rng.random() < 0.6 else None,
            shutter=float(rng.uniform(0.1, 0.6)) if rng.random() < 0.8 else 0.0,
            seed=int(rng.integers(2**31)),
        )


def photograph(
    frames: Iterable[Float[np.ndarray, "H W 3"]], photography: Photography
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Films a clip; frames go through one by one.

    Args:
        frames: Linear radiance in order of time (`Rendered.radiance`).
        photography: The camera.

    Yields:
        sRGB images of the same size.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([photography.seed, 77])))
    stops: float | None = None
    gains: np.ndarray | None = None
    drift = np.zeros(3)  # stops, red, blue
    for frame in frames:
        light = np.asarray(frame, np.float32)
        wanted_stops, wanted_gains = np.log2(automatic_exposure(light)), _cast_gains(light)
        lag = photography.exposure_lag
        stops = wanted_stops if stops is None else lag * stops + (1 - lag) * wanted_stops
        gains = wanted_gains if gains is None else 0.9 * gains + 0.1 * wanted_gains
        drift = 0.97 * drift + np.sqrt(1 - 0.97**2) * rng.standard_normal(3)
        exposure = 2.0 ** (stops + photography.exposure + photography.exposure_drift * drift[0])
        balance = gains**photography.auto_white_balance
        balance *= np.array([photography.white_balance[0], 1.0, photography.white_balance[1]])
        balance *= np.exp(photography.white_balance_drift * np.array([drift[1], 0.0, drift[2]]))
        light = _lens(light * (exposure * balance).astype(np.float32), photography)
        yield _sensor(light, photography, rng)


def automatic_exposure(radiance: Float[np.ndarray, "H W 3"]) -> float:
    """Gain that suits one view: its geometric mean to mid-grey, its bright parts not burnt."""
    luminance = radiance[::3, ::3] @ _LUMINANCE
    mean = float(np.exp(np.log(luminance + 1e-4).mean()))
    bright = float(np.quantile(luminance, 0.9))
    return float(np.clip(min(_KEY / mean, _BRIGHT / max(bright, 1e-3)), 1e-3, 50.0))


def develop(
    radiance: Float[np.ndarray, "H W 3"],
    *,
    exposure: float | None = None,
    contrast: float = 0.7,
) -> UInt8[np.ndarray, "H W 3"]:
    """Linear light to sRGB.

    Args:
        radiance: Linear, in any unit.
        exposure: Gain; `automatic_exposure` by default.
        contrast: See `Photography`.
    """
    gain = automatic_exposure(radiance) if exposure is None else exposure
    return _to_bytes(_tone(radiance * np.float32(gain), contrast))


def _cast_gains(radiance: np.ndarray) -> np.ndarray:
    """Gains of red, green, blue that would make the frame's mean grey."""
    mean = np.minimum(radiance[::4, ::4], 4.0).mean(axis=(0, 1)) + 1e-3
    return np.clip(mean[1] / mean, 0.5, 2.0)


def _lens(light: np.ndarray, photography: Photography) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    height, width = light.shape[:2]
    if photography.bloom > 0:
        light = light + np.float32(photography.bloom) * (_halo(light) - light)
    if photography.softness > 0.15:
        light = gaussian_filter(light, (photography.softness, photography.softness, 0), truncate=3)
    if photography.vignetting > 0:
        y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        falloff = 1 - photography.vignetting * ((x**2 + y**2) / 2) ** 1.3
        light = light * falloff[..., None].astype(np.float32)
    return np.maximum(light, 0)


def _halo(light: np.ndarray) -> np.ndarray:
    """The light, bright places capped, blurred over a fortieth of the picture's long side."""
    from scipy.ndimage import gaussian_filter

    height, width = light.shape[:2]
    bright = np.minimum(light[::4, ::4], 8.0)
    sigma = max(height, width) / 4 / 40
    halo = gaussian_filter(bright, (sigma, sigma, 0), truncate=3)
    channels = [
        Image.fromarray(np.ascontiguousarray(halo[..., channel])).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        for channel in range(3)
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def _sensor(
    light: np.ndarray, photography: Photography, rng: np.random.Generator
) -> UInt8[np.ndarray, "H W 3"]:
    if photography.saturation != 1:
        grey = (light @ _LUMINANCE)[..., None]
        light = np.maximum(grey + np.float32(photography.saturation) * (light - grey), 0)
    image = _tone(light, photography.contrast)
    if photography.shot_noise > 0 or photography.read_noise > 0:
        deviation = photography.read_noise + photography.shot_noise * np.sqrt(image)
        grain = rng.standard_normal(image.shape, dtype=np.float32)
        grain = 0.6 * grain + 0.4 * grain.mean(axis=-1, keepdims=True)
        image = image + deviation.astype(np.float32) * grain
    pixels = _to_bytes(image)
    if photography.jpeg_quality is None:
        return pixels
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=photography.jpeg_quality)
    return np.asarray(Image.open(stream).convert("RGB"))


def _tone(light: np.ndarray, contrast: float) -> np.ndarray:
    """Linear light after exposure to display values in [0, 1].

    The filmic end is the rational fit to the ACES curve by Narkowicz (2015); the other end an
    exponential shoulder with less contrast.
    """
    x = np.linspace(0, np.sqrt(_CURVE_END), _CURVE_STEPS) ** 2
    filmic = np.clip(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0, 1)
    curve = contrast * filmic + (1 - contrast) * (1 - np.exp(-1.25 * x))
    encoded = np.where(curve <= 0.0031308, 12.92 * curve, 1.055 * curve ** (1 / 2.4) - 0.055)
    position = np.sqrt(np.clip(light, 0, _CURVE_END) / np.float32(_CURVE_END))
    index = np.rint(position * (_CURVE_STEPS - 1)).astype(np.int32)
    return encoded.astype(np.float32)[index]


def _to_bytes(image: np.ndarray) -> UInt8[np.ndarray, "H W 3"]:
    return np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)
