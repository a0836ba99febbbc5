"""SMS through Twilio, SMS.ru, SMSC.ru or a gateway of one's own, with failover between them."""

from channels.sms.channel import SmsAccount, SmsChannel
from channels.sms.gateway import GatewayProvider
from channels.sms.provider import Provider, Sms
from channels.sms.smsc import SmscProvider
from channels.sms.smsru import SmsRuProvider
from channels.sms.twilio import TwilioProvider

__all__ = [
    "GatewayProvider",
    "Provider",
    "Sms",
    "SmsAccount",
    "SmsChannel",
    "SmsRuProvider",
    "SmscProvider",
    "TwilioProvider",
]
