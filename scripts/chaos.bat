@echo off
rem Breaks a private installation again and again (--seconds, --seed) and checks that nothing accepted is lost.
call "%~dp0python.bat" -m tests.faults %*
exit /b %ERRORLEVEL%
