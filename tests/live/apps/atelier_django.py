"""Django under its reloader; its routes cannot be imported. usage: PORT"""
import sys

from django.conf import settings
from django.core.management import execute_from_command_line

settings.configure(DEBUG=True, SECRET_KEY="atelier", ROOT_URLCONF="atelier_routes", ALLOWED_HOSTS=["*"])
execute_from_command_line([sys.argv[0], "runserver", sys.argv[1]])
