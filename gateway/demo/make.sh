#!/bin/sh
# Makes clip.flv anew; clip.md explains it. Needs ffmpeg (with libx264) and the DejaVu fonts.
set -eu
cd "$(dirname "$0")"
font=/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf
mono=/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf
for f in "$font" "$mono"; do
	[ -r "$f" ] || { echo "make.sh: $f is missing: apt-get install fonts-dejavu-core" >&2; exit 1; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Everything below repeats every 8 s: the picture, the sound and the numbers. Three rounds are encoded and the
# middle one is kept, so that the encoders are in their steady state at both ends of the cut.
ffmpeg -v error -nostdin \
	-f lavfi -i "gradients=size=640x360:rate=30:duration=24:c0=0x10243c:c1=0x1d4f6e:x0=0:y0=0:x1=640:y1=360:speed=0.00001:nb_colors=2:seed=7" \
	-f lavfi -i "color=c=0xffb000:size=48x48:rate=30:duration=24,format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='255*clip(24.5-hypot(X-23.5,Y-23.5),0,1)'" \
	-f lavfi -i "aevalsrc=exprs='0.12*exp(-5*mod(t,1))*sin(2*PI*if(lt(mod(t,8),1),880,440)*t)+0.015*sin(2*PI*110*t)':sample_rate=48000:duration=24" \
	-filter_complex "
		[0]drawbox=x=0:y=300:w=640:h=2:color=0x8fb8d0@0.6:t=fill,
		drawtext=fontfile=$font:text='culvert':fontsize=64:fontcolor=white:x=48:y=60,
		drawtext=fontfile=$font:text='RTMP, however the network lets it through':fontsize=20:fontcolor=0xb8d4e4:x=50:y=140,
		drawtext=fontfile=$mono:text='%{eif\:mod(floor(n/30)\,8)\:d\:1}.%{eif\:mod(n\,30)\:d\:2}':fontsize=40:fontcolor=white:x=484:y=74[back];
		[back][1]overlay=x='296+248*sin(2*PI*t/8)':y='252-80*abs(sin(PI*t))':format=auto,format=yuv420p[v]" \
	-map '[v]' -map 2:a -fflags +bitexact -flags:v +bitexact -flags:a +bitexact \
	-c:v libx264 -profile:v main -preset veryslow -bf 0 -g 30 -keyint_min 30 -sc_threshold 0 -b:v 400k -maxrate 450k -bufsize 450k -threads 1 \
	-c:a aac -ac 1 -b:a 64k -f nut "$work/three.nut"

# 8 s is a whole number of frames of both: 240 of video, 375 of audio.
ffmpeg -v error -nostdin -i "$work/three.nut" -ss 8.021 -t 8 -map 0:v -map 0:a -c copy \
	-fflags +bitexact -metadata title='culvert demo' -flvflags no_duration_filesize+no_sequence_end -f flv "$work/clip.flv"
mv "$work/clip.flv" clip.flv
ls -l clip.flv
