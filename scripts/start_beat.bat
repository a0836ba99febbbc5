@echo off
rem Starts beat in the foreground. Arguments go to `celery beat`.
call "%~dp0python.bat" -m celery -A notifier beat %*
exit /b %ERRORLEVEL%
