(ns httpkit.browser
  "A headless Chromium, driven over its DevTools protocol (JSON messages on a WebSocket)."
  (:require [clojure.java.io     :as io]
            [clojure.string      :as str]
            [httpkit.files       :as files]
            [httpkit.golden.json :as json]
            [httpkit.scheme      :as scheme])
  (:import [java.io BufferedReader File IOException]
           [java.net URI]
           [java.net.http HttpClient WebSocket WebSocket$Listener]
           [java.util Base64]
           [java.util.concurrent TimeUnit]))

(set! *warn-on-reflection* true)

(def ^:private patience-ms 20000)

(defn- write-json [x]
  (cond
    (map? x)    (str "{" (str/join "," (for [[k v] x] (str (write-json (name k)) ":" (write-json v)))) "}")
    (vector? x) (str "[" (str/join "," (map write-json x)) "]")
    (string? x) (pr-str x)
    :else       (str x)))

(defn- launch ^Process [^File profile]
  (try
    (let [^java.util.List command (concat ["chromium" "--headless=new" "--no-sandbox" "--disable-gpu" "--disable-dev-shm-usage"
                                           "--no-proxy-server" "--remote-debugging-port=0"]
                                          (when scheme/https? ["--ignore-certificate-errors"])
                                          [(str "--user-data-dir=" profile) "about:blank"])]
      (.start (.redirectErrorStream (ProcessBuilder. command) true)))
    (catch IOException e
      (throw (ex-info "There is no chromium on the PATH; ./dev installs it" {} e)))))

(defn- devtools-address
  "The address that Chromium prints when it is ready. Its later output is read and dropped, so that it never blocks."
  [^Process process]
  (let [^BufferedReader out (io/reader (.getInputStream process))
        address (promise)
        read    (fn []
                  (try
                    (doseq [line (line-seq out)]
                      (when-let [[_ found] (re-find #"DevTools listening on (ws://\S+)" line)]
                        (deliver address found)))
                    (catch IOException _ended nil)
                    (finally (deliver address nil))))]
    (doto (Thread. ^Runnable read)
      (.setDaemon true)
      (.start))
    (or (deref address patience-ms nil)
        (throw (ex-info "Chromium did not start" {})))))

(defn- receive-answers
  "A listener that delivers each answer to the promise under its id."
  [answers]
  (let [text (StringBuilder.)]
    (reify WebSocket$Listener
      (onText [_ socket part last?]
        (.append text part)
        (when last?
          (let [message (json/parse (str text))]
            (.setLength text 0)
            (some-> (get @answers (get message "id")) (deliver message))))
        (.request ^WebSocket socket 1)
        nil))))

(defn- call
  "Result of one DevTools method."
  ([browser method params] (call browser nil method params))
  ([{:keys [^WebSocket socket answers ids]} session method params]
   (let [id      (swap! ids inc)
         answer  (promise)
         message (cond-> {:id id :method method :params params}
                   session (assoc :sessionId session))]
     (swap! answers assoc id answer)
     (.get (.sendText socket (write-json message) true) patience-ms TimeUnit/MILLISECONDS)
     (let [{:strs [result error] :as received} (deref answer patience-ms nil)]
       (swap! answers dissoc id)
       (when (or error (nil? received))
         (throw (ex-info (str method " failed") {:error error})))
       result))))

(defn with-browser
  "Calls `f` with a browser, and ends it."
  [f]
  (let [profile (files/temporary-directory)
        process (launch profile)]
    (try
      (let [answers (atom {})
            socket  (-> (HttpClient/newHttpClient)
                        (.newWebSocketBuilder)
                        (.buildAsync (URI. (devtools-address process)) (receive-answers answers))
                        (.get patience-ms TimeUnit/MILLISECONDS))]
        (f {:socket socket :answers answers :ids (atom 0)}))
      (finally
        (.destroy process)
        (when-not (.waitFor process 10 TimeUnit/SECONDS)
          (.destroyForcibly process))
        (files/delete-tree profile)))))

(defn open-tab
  "Opens `url` in a new tab."
  [browser url]
  (let [{:strs [targetId]}  (call browser "Target.createTarget" {:url url})
        {:strs [sessionId]} (call browser "Target.attachToTarget" {:targetId targetId :flatten true})]
    {:browser browser :session sessionId}))

(defn evaluate
  "Value of a JavaScript expression (string, number or boolean) in a tab."
  [{:keys [browser session]} expression]
  (get-in (call browser session "Runtime.evaluate" {:expression expression :returnByValue true}) ["result" "value"]))

(defn wait-until
  "True as soon as the expression is, false if it is not in time."
  [tab expression]
  (let [deadline (+ (System/nanoTime) (* 1000000 (long patience-ms)))]
    (loop []
      (cond
        (true? (evaluate tab expression)) true
        (> (System/nanoTime) deadline)    false
        :else (do (Thread/sleep 50) (recur))))))

(defn emulate!
  "Makes a tab as wide and high as a screen of that many CSS pixels, for a person who prefers `scheme`, \"light\" or
  \"dark\"."
  [{:keys [browser session]} width height scheme]
  (call browser session "Emulation.setDeviceMetricsOverride" {:width width :height height :deviceScaleFactor 1 :mobile false})
  (call browser session "Emulation.setEmulatedMedia" {:features [{:name "prefers-color-scheme" :value scheme}]}))

(defn screenshot
  "Writes what the tab shows as PNG."
  [{:keys [browser session]} file]
  (let [{:strs [data]} (call browser session "Page.captureScreenshot" {:format "png"})]
    (io/make-parents file)
    (io/copy (.decode (Base64/getDecoder) ^String data) (io/file file))))
