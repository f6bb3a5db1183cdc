"""A volume backend without disks that makes volumes from images too, and lets several guests have one.

Cinder's own fake backend downloads the image and calls qemu-img on a device that does not exist, through a
root helper that a laboratory has not set up; and no volume of it may be attached twice.
"""

from cinder.tests import fake_driver


class LabVolumeDriver(fake_driver.FakeLoggingVolumeDriver):
    """Takes each image for one that its disks hold already."""

    def clone_image(self, *_asked):
        return {}, True

    def _update_volume_stats(self):
        super()._update_volume_stats()
        # Else each back end is called "fake", and a volume type could name none of several.
        self._stats["volume_backend_name"] = self.configuration.safe_get("volume_backend_name")
        for place in (self._stats, *self._stats.get("pools", ())):
            place["multiattach"] = True
