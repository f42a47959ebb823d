"""What a WSGI server loads: ``service.wsgi:app``."""

from service import logs
from service.access_log import AccessLog
from service.app import create_app
from service.proxies import TrustedProxies

logs.configure()
flask_app = create_app()
# The log is outermost: it shows also what is answered before Flask, and the client's address.
app = AccessLog(TrustedProxies(flask_app, flask_app.config["TRUSTED_PROXIES"]))
