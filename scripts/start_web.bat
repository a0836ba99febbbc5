@echo off
rem Starts the web server in the foreground: HOST and PORT say where. Arguments go to `manage.py serve`.
call "%~dp0python.bat" manage.py serve %*
exit /b %ERRORLEVEL%
