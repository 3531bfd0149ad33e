(ns demo.live
  "What stays open: a chat over WebSocket, a clock over server-sent events, an inbox by long polling."
  (:require [clojure.string     :as str]
            [demo.page          :as page]
            [org.httpkit.server :as server])
  (:import [java.time LocalTime]
           [java.time.temporal ChronoUnit]
           [java.util.concurrent Executors ScheduledExecutorService ThreadFactory TimeUnit]))

;; Chat: every channel that is open; a message goes to all of them.

(defonce ^:private talkers (atom #{}))

(defn- tell-all [text]
  (doseq [ch @talkers]
    (server/send! ch text)))

(defn- people []
  (str "* " (count @talkers) " here"))

(defn chat-socket [req]
  (if (:websocket? req)
    (server/as-channel req
      {:on-open    (fn [ch] (swap! talkers conj ch) (tell-all (people)))
       :on-receive (fn [_ message] (tell-all (str message)))
       :on-close   (fn [ch _] (swap! talkers disj ch) (tell-all (people)))})
    {:status 400 :headers {"Content-Type" "text/plain"} :body "This address speaks WebSocket."}))

(defn chat-page [_]
  (page/layout "Chat"
    "<p>Open this page in two tabs. Messages go to every tab through one WebSocket each.</p>
     <div id=log></div>
     <form id=form><input id=name size=10 placeholder=name> <input id=text size=40 placeholder=message autofocus>
     <button>Send</button></form>
     <script>
     const $ = id => document.getElementById(id);
     const show = (text, kind) => { const line = document.createElement('div');
       line.textContent = text; line.className = kind || ''; $('log').append(line); $('log').scrollTop = $('log').scrollHeight; };
     const socket = new WebSocket(location.href.replace(/^http/, 'ws').replace(/chat.*$/, 'chat/socket'));
     socket.onopen = () => show('connected', 'note');
     socket.onmessage = e => show(e.data, e.data.startsWith('* ') ? 'note' : '');
     socket.onclose = e => show('closed, code ' + e.code, 'note');
     $('form').onsubmit = e => { e.preventDefault();
       if ($('text').value) socket.send(($('name').value || 'somebody') + ': ' + $('text').value);
       $('text').value = ''; };
     </script>"))

;; Clock: one thread sends the time to every open stream.

(defonce ^:private watchers (atom #{}))

(defn- time-event []
  (str "data: " (.truncatedTo (LocalTime/now) ChronoUnit/SECONDS) "\n\n"))

(defn- tick []
  (let [event (time-event)]
    (doseq [ch @watchers]
      (server/send! ch event false))))

(defonce ^:private clock-thread
  (delay
    (doto (Executors/newSingleThreadScheduledExecutor
            (reify ThreadFactory
              (newThread [_ task] (doto (Thread. ^Runnable task "demo-clock") (.setDaemon true)))))
      (.scheduleAtFixedRate tick 0 1 TimeUnit/SECONDS))))

(defn clock-stream [req]
  @clock-thread
  (server/as-channel req
    {:on-open  (fn [ch]
                 (server/send! ch {:status  200
                                   :headers {"Content-Type" "text/event-stream" "Cache-Control" "no-store"}
                                   :body    (time-event)}
                               false)
                 (swap! watchers conj ch))
     :on-close (fn [ch _] (swap! watchers disj ch))}))

(defn clock-page [_]
  (page/layout "Clock"
    "<p>Server-sent events: one answer that never ends, one event a second.</p><p class=big id=time>…</p>
     <script>
     new EventSource('/clock/events').onmessage = e => document.getElementById('time').textContent = e.data;
     </script>"))

;; Inbox: a GET is held until there is a message, or for half a minute.

(defonce ^:private waiting (atom #{}))

(defn- text [status body]
  {:status status :headers {"Content-Type" "text/plain; charset=utf-8" "Cache-Control" "no-store"} :body body})

(defn wait-for-message [req]
  (server/as-channel req
    {:on-open  (fn [ch]
                 (swap! waiting conj ch)
                 (.schedule ^ScheduledExecutorService @clock-thread
                            ^Runnable (fn [] (server/send! ch (text 204 nil)))
                            30 TimeUnit/SECONDS))
     :on-close (fn [ch _] (swap! waiting disj ch))}))

(defn post-message [{:keys [body]}]
  (let [message (if body (slurp body :encoding "UTF-8") "")
        [held]  (swap-vals! waiting empty)]
    (if (str/blank? message)
      (text 400 "An empty message was not delivered.")
      (text 200 (str "delivered to " (count (filter #(server/send! % (text 200 message)) held)))))))

(defn inbox-page [_]
  (page/layout "Inbox"
    "<p>Long polling: a request waits at the server until there is a message. Try
     <code>curl -d hello http://localhost:8090/inbox/messages</code>, or:</p>
     <form id=form><input id=text size=40 autofocus> <button>Send</button></form><div id=log></div>
     <script>
     const $ = id => document.getElementById(id);
     const pause = ms => new Promise(done => setTimeout(done, ms));
     (async () => { for (;;) try {
       const answer = await fetch('/inbox/messages');
       if (answer.status === 200) { const line = document.createElement('div');
         line.textContent = await answer.text(); $('log').append(line); }
     } catch (e) { await pause(1000); } })();
     $('form').onsubmit = e => { e.preventDefault();
       fetch('/inbox/messages', {method: 'POST', body: $('text').value}); $('text').value = ''; };
     </script>"))
