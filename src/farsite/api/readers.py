"""The words of every interface through which a subscription can be made."""

from farsite.api.native.subscriptions import NativeReader
from farsite.api.sol003.fm_shapes import FmReader
from farsite.api.sol003.lcm_subscriptions import LcmReader
from farsite.model.subscription import Interface
from farsite.notifications.dialects import Readers

READERS: Readers = {
    Interface.FM: FmReader,
    Interface.LCM: LcmReader,
    Interface.NATIVE: NativeReader,
}
