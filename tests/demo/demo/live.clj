(ns demo.live
  "What stays open: a chat over WebSocket, a clock over server-sent events, an inbox by long polling."
  (:require [clojure.string     :as str]
            [demo.json          :as json]
            [demo.page          :as page]
            [org.httpkit.server :as server])
  (:import [java.time LocalTime]
           [java.time.temporal ChronoUnit]
           [java.util.concurrent Executors ScheduledExecutorService ThreadFactory TimeUnit]))

(defonce ^:private timer
  (delay
    (Executors/newSingleThreadScheduledExecutor
      (reify ThreadFactory
        (newThread [_ task] (doto (Thread. ^Runnable task "demo-timer") (.setDaemon true)))))))

(defn- plain [status text]
  {:status status :headers {"Content-Type" "text/plain; charset=utf-8" "Cache-Control" "no-store"} :body text})

;; Chat: every channel that is open; a message goes to all of them.

(defonce ^:private talkers (atom #{}))

(defn- tell-all [text]
  (doseq [channel @talkers]
    (server/send! channel text)))

(defn- people []
  (str "* " (count @talkers) " here"))

(defn chat-socket [request]
  (if (:websocket? request)
    (server/as-channel request
      {:on-open    (fn [channel]
                     (swap! talkers conj channel)
                     (tell-all (people)))
       :on-receive (fn [_channel message]
                     (tell-all (str message)))
       :on-close   (fn [channel _status]
                     (swap! talkers disj channel)
                     (tell-all (people)))})
    (plain 400 "This address speaks WebSocket.")))

(defn chat-page [_]
  (page/layout "/chat"
    "<p>Open this page in two tabs.</p><div id=log></div>
     <form id=form><input id=name class=name placeholder=name aria-label='your name'>
     <input id=text class=wide placeholder=message aria-label=message autofocus> <button>Send</button></form>
     <script>
     const socket = new WebSocket(location.origin.replace(/^http/, 'ws') + '/chat/socket');
     socket.onopen = () => line('connected', 'note');
     socket.onmessage = e => line(e.data, e.data.startsWith('* ') ? 'note' : '');
     socket.onclose = e => line('closed, code ' + e.code, 'note');
     $('form').onsubmit = e => { e.preventDefault();
       if ($('text').value) socket.send(($('name').value || 'guest') + ': ' + $('text').value);
       $('text').value = ''; };
     </script>"))

;; Clock: one thread sends the time to every open stream.

(defonce ^:private watchers (atom #{}))

(defn- time-event []
  (str "data: " (.truncatedTo (LocalTime/now) ChronoUnit/SECONDS) "\n\n"))

(defn- tick []
  (let [event (time-event)]
    (doseq [channel @watchers]
      (server/send! channel event false))))

(defonce ^:private ticking
  (delay (.scheduleAtFixedRate ^ScheduledExecutorService @timer tick 0 1 TimeUnit/SECONDS)))

(defn clock-stream [request]
  @ticking
  (server/as-channel request
    {:on-open  (fn [channel]
                 (server/send! channel
                               {:status  200
                                :headers {"Content-Type" "text/event-stream" "Cache-Control" "no-store"}
                                :body    (time-event)}
                               false)                 ; false: the response goes on
                 (swap! watchers conj channel))
     :on-close (fn [channel _status]
                 (swap! watchers disj channel))}))

(defn clock-page [_]
  (page/layout "/clock"
    "<p class=big id=time>…</p>
     <script>
     new EventSource('/clock/events').onmessage = e => $('time').textContent = e.data;
     </script>"))

;; Inbox: messages have numbers. A request says which it has seen, and is held until there is a newer one. So none is
;; lost between a response and the next request.

(def ^:private kept 100)

(defonce ^:private inbox (atom {:last 0, :messages [], :waiting {}}))

(defn- newer [{:keys [messages] :as inbox} after]
  {:last (:last inbox), :messages (map second (filter #(< after (first %)) messages))})

(defn- join
  "The inbox with one more channel that waits, unless there is something for it already."
  [inbox channel after]
  (if (< after (:last inbox))
    inbox
    (assoc-in inbox [:waiting channel] after)))

(defn- add [inbox text]
  (let [n (inc (:last inbox))]
    {:last n, :messages (vec (take-last kept (conj (:messages inbox) [n text]))), :waiting {}}))

(defn- after-of [{:keys [query-string]}]
  (if-let [[_ n] (re-find #"^after=(\d{1,15})$" (or query-string ""))]
    (Long/parseLong n)
    (:last @inbox)))

(defn wait-for-message [request]
  (let [after (after-of request)]
    (server/as-channel request
      {:on-open  (fn [channel]
                   (let [now (swap! inbox join channel after)]
                     (if (contains? (:waiting now) channel)
                       (.schedule ^ScheduledExecutorService @timer
                                  ^Runnable (fn [] (server/send! channel (plain 204 nil)))
                                  25 TimeUnit/SECONDS)
                       (server/send! channel (json/response (newer now after))))))
       :on-close (fn [channel _status]
                   (swap! inbox update :waiting dissoc channel))})))

(defn post-message [{:keys [body]}]
  (let [text (if body (slurp body :encoding "UTF-8") "")]
    (if (str/blank? text)
      (plain 400 "An empty message was not delivered.")
      (let [[before now] (swap-vals! inbox add text)
            sent         (for [[channel after] (:waiting before)]
                           (server/send! channel (json/response (newer now after))))]
        (plain 200 (str "delivered to " (count (filter true? sent)) "\n"))))))

(defn inbox-page [{:keys [headers]}]
  (page/layout "/inbox"
    "<p>Open this page in two tabs: both get each message. From a terminal:<br>
     <code>curl -d hello http://" (page/escape (get headers "host" "localhost:8090")) "/inbox/messages</code></p>
     <form id=form><input id=text class=wide placeholder=message aria-label=message autofocus> <button>Send</button></form>
     <div id=log></div>
     <script>
     let last = " (:last @inbox) ";
     const pause = ms => new Promise(done => setTimeout(done, ms));
     (async () => { for (;;) try {
       // no-store: browsers let equal requests of two tabs wait for each other, for the sake of their cache.
       const response = await fetch('/inbox/messages?after=' + last, {cache: 'no-store'});
       if (response.status === 200) { const mail = await response.json();
         last = mail.last; mail.messages.forEach(text => line(text)); }
     } catch (e) { await pause(1000); } })();
     $('form').onsubmit = e => { e.preventDefault();
       fetch('/inbox/messages', {method: 'POST', body: $('text').value}); $('text').value = ''; };
     </script>"))
