"""The same with Django's runserver."""
import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse
from django.urls import re_path

import mixed_wsgi

settings.configure(DEBUG=True, SECRET_KEY="test", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])


def answer(request):
    mixed_wsgi.app(request.META, lambda status, headers: None)
    return HttpResponse("hi\n")


urlpatterns = [re_path("", answer)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
