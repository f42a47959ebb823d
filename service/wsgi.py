"""What a WSGI server loads: ``service.wsgi:app``."""

from service import logs
from service.access_log import AccessLog
from service.app import create_app

logs.configure()
app = AccessLog(create_app())
