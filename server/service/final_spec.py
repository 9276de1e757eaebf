"""What a search does with its front once it asks no more."""

from __future__ import annotations

from pydantic import Field

from nas_engine.domain.image_set import MAX_IMAGES
from server.service.spec_parts import SpecPart


class FinalSpec(SpecPart):
    """What is done with the front once nothing more is asked."""

    on_device_accuracy: bool = False
    """Have the search's device classify test images with the deployable models of the front, so that what its
    arithmetic loses against the float network is seen. Needs a device that executes models, and a supernet."""

    num_images: int | None = Field(default=None, ge=1, le=MAX_IMAGES)
    """Test images it classifies, evenly drawn and the same for every model; absent: all."""

    timeout_s: float = Field(default=3600.0, gt=0, le=86_400)
    """Longest one model may take on the device, fetching the images included, seconds."""
