@echo off
rem Sets everything up and starts the demo: the whole service with a sandbox, in one process.
rem Arguments go to `manage.py demo`: --port 8000, --check.
call "%~dp0bootstrap.bat" demo %*
exit /b %ERRORLEVEL%
