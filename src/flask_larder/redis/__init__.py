"""The store on Redis or Valkey: where it is, how it is reached, and what happens when it is not."""

from flask_larder.redis.cluster import AnyLinks as AnyLinks
from flask_larder.redis.cluster import ClusterLinks as ClusterLinks
from flask_larder.redis.connection import Address as Address
from flask_larder.redis.connection import without_secrets as without_secrets
from flask_larder.redis.lease import RedisLeases as RedisLeases
from flask_larder.redis.links import Links as Links
from flask_larder.redis.purge_log import RedisPurges as RedisPurges
from flask_larder.redis.sentinel import SentinelMaster as SentinelMaster
from flask_larder.redis.slots import ClusterAddress as ClusterAddress
from flask_larder.redis.store import RedisStore as RedisStore
