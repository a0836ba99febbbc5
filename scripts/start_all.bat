@echo off
rem Starts web, worker and beat together, in the foreground. Arguments go to `manage.py serve`.
call "%~dp0python.bat" scripts\start_all.py %*
exit /b %ERRORLEVEL%
