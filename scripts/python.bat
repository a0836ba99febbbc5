@echo off
rem The project's Python: that of .venv where it is, otherwise the one on the PATH. Runs in the project's directory.
setlocal
cd /d "%~dp0.."
if exist ".venv\Scripts\python.exe" (
    set "PYTHON=.venv\Scripts\python.exe"
    goto found
)
for %%P in (python python3 "py -3") do (
    %%~P -c "import celery, django" >nul 2>nul && set "PYTHON=%%~P" && goto found
)
echo There is no .venv, and the Python on the PATH lacks the packages of requirements.txt. 1>&2
echo Make .venv with "scripts\demo.bat --check", or: python -m pip install -r requirements.txt 1>&2
exit /b 1
:found
%PYTHON% %*
exit /b %ERRORLEVEL%
