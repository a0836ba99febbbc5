@echo off
rem Lists every part that is installed, and asks whether one has a known vulnerability.
call "%~dp0bootstrap.bat" audit %*
exit /b %ERRORLEVEL%
