@echo off
rem Starts a worker in the foreground. Arguments go to `celery worker`.
call "%~dp0python.bat" -m celery -A notifier worker %*
exit /b %ERRORLEVEL%
