"""The settings, from the environment and .env."""

import os

from dotenv import load_dotenv

load_dotenv()


class BaseConfig:
    """What app.config is made of."""

    CACHE_TYPE = os.environ["CACHE_TYPE"]
    CACHE_REDIS_HOST = os.environ["CACHE_REDIS_HOST"]
    CACHE_REDIS_PORT = os.environ["CACHE_REDIS_PORT"]
    CACHE_REDIS_DB = os.environ["CACHE_REDIS_DB"]
    CACHE_REDIS_URL = os.environ["CACHE_REDIS_URL"]
    CACHE_DEFAULT_TIMEOUT = os.environ["CACHE_DEFAULT_TIMEOUT"]
