(ns httpkit.golden.server
  "Plays one server case: starts a server, acts as its raw client, collects the outcome."
  (:require [clojure.string :as str]
            [httpkit.golden.bytes :as bytes]
            [httpkit.golden.conn :as conn]
            [httpkit.golden.frame :as frame]
            [httpkit.golden.handler :as handler]
            [httpkit.golden.http :as http]
            [httpkit.golden.record :as record]
            [httpkit.golden.value :as value]
            [httpkit.tls-certs :as certs]))

(set! *warn-on-reflection* true)

(defn load-api!
  "Loads the implementation. Ring's namespaces first: whether they are there
  is looked at when `org.httpkit.server` loads."
  [_cases]
  (require 'ring.websocket)
  (require 'org.httpkit.server))

(defn- api [n]
  @(requiring-resolve (symbol "org.httpkit.server" n)))

(defn start-httpkit
  "Starts the server under test: `{:port int, :stop! (fn [ms] -> promise or nil)}`."
  [handler options]
  (let [tls    (when @conn/tls? {:http? false :ssl-port 0 :tls (certs/pem "server")})
        server ((api "run-server") handler (merge options tls {:legacy-return-value? false}))]
    {:port ((api "server-port") server)
     :stop! (fn [ms] ((api "server-stop!") server {:timeout ms}))}))

(def ^:private default-handshake
  [["Host" "h"] ["Upgrade" "websocket"] ["Connection" "Upgrade"]
   ["Sec-WebSocket-Key" "dGhlIHNhbXBsZSBub25jZQ=="] ["Sec-WebSocket-Version" "13"]])

(defn handshake
  "Text of a handshake: the default one with the changes of `h`. `headers`
  replaces by name, null removes, others are added."
  [{:strs [method path version headers body]}]
  (let [changed (for [[k v] default-handshake
                      :let [v (get headers k v)]
                      :when v]
                  [k v])
        added (remove (fn [[k _]] (some #(= k (first %)) default-handshake)) headers)]
    (str (or method "GET") " " (or path "/") " HTTP/" (or version "1.1") "\r\n"
         (str/join (for [[k v] (concat changed added) :when v] (str k ": " v "\r\n")))
         "\r\n"
         body)))

(defn- wait-head
  "Waits for the end of the next answer's head, + 60 ms; gives up after 2 s."
  ;; No condition stands for the 60 ms, nor for the 300 ms below: the cases' format says both, for silence that they
  ;; were recorded with.
  [c from]
  (conn/wait-until 2000 #(or (conn/closed? c)
                             (http/index-of (conn/received c) (bytes/latin1 "\r\n\r\n") from)))
  (Thread/sleep 60))

(defn- ws-open [c text frames]
  (let [from (alength (conn/received c))]
    (conn/send! c (str text (bytes/text (frame/encode-all frames))))
    (wait-head c from)))

(defn- settle [c]
  (let [from (System/nanoTime)]
    (conn/wait-until 10000 #(or (conn/closed? c) (conn/quiet? c from 330)))))

(defn- open-conn [{:keys [server conns] :as play}]
  (swap! conns conj (conn/open (:port server)))
  (assoc play :current (dec (count @conns))))

(defn- stop-server [{:keys [server ctx]} ms]
  (let [stopped ((:stop! server) ms)]
    (record/log! (:rec ctx) "stop" [(when stopped (deref stopped 5000 "not delivered"))])))

(defn- text-action [{:keys [conns current] :as play} action]
  (if (= action "new_conn")
    (open-conn play)
    (let [c (nth @conns current)]
      (case action
        "half_close" (conn/half-close! c)
        "disconnect" (conn/close! c)
        "reset" (conn/reset! c))
      (Thread/sleep 300)
      play)))

(defn- object-action [{:keys [conns current ctx] :as play} action]
  (let [c (nth @conns current)
        [k v] (first action)]
    (case k
      "send" (conn/send! c v)
      "pause_ms" (Thread/sleep (long v))
      "settle" (settle c)
      "run" (handler/run-later ctx v)
      "server_stop" (stop-server play v)
      "ws_open" (ws-open c (handshake v) [])
      "ws_open_with" (ws-open c (handshake {}) v)
      "frames" (conn/send! c (bytes/text (frame/encode-all v)))
      "frames_drip" (conn/send! c {"drip" [(bytes/text (frame/encode-all v)) 1]})
      "use_conn" nil)
    (cond-> play (= k "use_conn") (assoc :current v))))

(defn- perform [play action]
  ((if (string? action) text-action object-action) play action))

(defn- wait-quiet
  "Until every connection is closed or, from now on, quiet for 500 ms, and the
  callbacks too (150 ms when all are closed: callbacks of a closing come at once)."
  [{:keys [conns ctx]}]
  (let [from (System/nanoTime)
        done? (fn [c] (or (conn/closed? c) (conn/quiet? c from 500)))]
    (conn/wait-until 15000 #(and (every? done? @conns)
                                 (every? (fn [c] (conn/quiet? c from 150)) @conns)
                                 (<= 150 (long (record/quiet-ms (:rec ctx))))))))

(defn- conn-outcome [golden c]
  (let [parsed (http/parse (conn/received c) (get golden "head"))]
    (assoc parsed "closed" (conn/closed? c))))

(defn- outcome [golden {:keys [conns ctx]}]
  (let [conns (mapv #(conn-outcome golden %) @conns)]
    (merge (record/outcome (:rec ctx))
           (if (= 1 (count conns))
             (assoc (first conns) "response-count" (count (get-in conns [0 "responses"])))
             {"conns" conns}))))

(defn play
  "Plays `golden` against the server that `start` (default: http-kit's API)
  starts, and gives `[golden outcome]`, golden with its ports filled in."
  ([golden] (play golden start-httpkit))
  ([golden start]
   (let [rec (record/recorder)
         ctx {:rec rec :opened (promise)}
         server (start (handler/handler ctx golden)
                       (merge (record/loggers rec) {:ip "127.0.0.1" :port 0}
                              (value/options (get golden "server"))))
         golden (value/substitute {"{port}" (str (:port server))} golden)
         conns (atom [])]
     (try
       (let [play (open-conn {:server server :conns conns :ctx ctx})]
         (reduce perform play (if (contains? golden "send")
                                [{"send" (get golden "send")}]
                                (get golden "client")))
         (wait-quiet play)
         [golden (outcome golden play)])
       (finally
         (run! conn/close! @conns)
         (some-> ((:stop! server) 50) (deref 5000 nil)))))))
